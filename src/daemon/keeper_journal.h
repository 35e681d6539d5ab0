// The journal of an instance's engine, kept by the keeper.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "fusefs/entries.h"
#include "keeper/store.h"
#include "kernel/journal.h"

namespace loopfs::daemon {

// Names of items: "instance/ID" (the channel and the user namespace), "device/ID/N" (the token of its
// binding), "control/ID", "entry/ID/INODE", "open/ID/HANDLE" (the kernel device that it has open, if it has one).
class KeeperJournal final : public kernel::Journal {
 public:
  KeeperJournal(keeper::Store* store, uint64_t instance) : store_(store), instance_(instance) {}

  Result<void> put(const kernel::DeviceRecord& record) override;
  void put_soon(const kernel::DeviceRecord& record) override;
  Result<uint64_t> put_ahead(const kernel::DeviceRecord& record) override;
  Result<void> answer(uint64_t ticket) override { return store_->answer(ticket); }
  void drop(uint32_t number) override;
  void put_control(const engine::NodeOwner& owner) override;
  void note_open(uint64_t handle) override;
  void forget_open(uint64_t handle) override;
  Result<void> put_open(uint64_t handle, int native) override;
  void drop_open(uint64_t handle) override;

  Result<void> put_entry(const fusefs::Entry& entry);
  void drop_entry(uint64_t number);

  // Everything of the instance but the instance itself.
  void drop_all(const std::vector<uint32_t>& devices, const std::vector<fusefs::Entry>& entries);

 private:
  std::string name(const char* kind, uint64_t key) const;

  keeper::Store* const store_;
  const uint64_t instance_;
};

}  // namespace loopfs::daemon
