// The kernel engine: behind a bound device stands a loop device of the kernel.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "base/threads.h"
#include "engine/engine.h"
#include "engine/node_owner.h"
#include "instance/node.h"
#include "kernel/binding.h"
#include "kernel/device_pool.h"
#include "kernel/escorts.h"
#include "kernel/journal.h"
#include "kernel/open_watch.h"
#include "porter/foreign.h"

namespace loopfs::kernel {

using engine::NodeId;

class NodeHandle;

// What a device is charged with, given back by its destructor.
using Charge = std::shared_ptr<void>;

// One device of the instance. Guarded by the engine's mutex.
struct Slot {
  uint32_t number = 0;
  Charge charge;
  std::map<uint32_t, engine::NodeOwner> owners;  // by partition; 0: the device
  std::shared_ptr<Binding> binding;
  uint64_t sequence_while_free = 0;  // what BLKGETDISKSEQ says of a free device
  unsigned openers = 0;              // open FUSE files of the node
  bool claimed = false;              // one of them with O_EXCL
  bool configuring = false;          // somebody is binding it
  bool ending = false;               // when last looked at: will be unbound at its last close
  std::chrono::steady_clock::time_point closing = {};  // until when a last close may be under way
};

// A free device's node is a regular FUSE file whose ioctls come here; once LOOP_CONFIGURE has bound a kernel
// device to it, the node is that device, and what is done with it is between the caller and the kernel. The
// engine learns of its end when it looks: at every request, and in sweep().
//
// Thread-safe. Calls may block as long as the caller's files do; none blocks another's, since no system call
// that asks a backing file's file system is made under the mutex.
class KernelEngine final : public engine::Engine, public std::enable_shared_from_this<KernelEngine> {
 public:
  struct Options {
    DevicePool* pool = nullptr;  // borrowed
    std::shared_ptr<OpenWatch> watch;
    Journal* journal = nullptr;        // borrowed; may be null
    std::shared_ptr<Escorts> escorts;  // may be null
    std::optional<uint32_t> max;
    std::set<uint32_t> taken = {};  // numbers that are not given out
    uid_t uid = 0;                  // of the nodes, in the first user namespace
    gid_t gid = 0;
    mode_t mode = 0600;
    porter::Account strangers;               // for what its callers have
    std::string partition_worker;            // program that reads partition tables; empty: the kernel does
    std::function<Result<Charge>()> charge;  // for one more device; may be unset
    std::function<void(const char* event, uint32_t number, uint32_t kernel_device)> tell;  // may be unset
  };
  explicit KernelEngine(Options options);

  // After a restart, before the first request: what the journal has, and the kernel still knows. `deadline`: as
  // restore_binding's.
  void restore(const std::vector<DeviceRecord>& records, const std::optional<engine::NodeOwner>& control,
               std::chrono::steady_clock::time_point deadline);

  // A handle that an earlier server had, and its descriptor of the kernel device, if it had one.
  Result<std::unique_ptr<engine::OpenNode>> reopen(NodeId id, const engine::OpenOptions& options, Fd native);

  // Bindings that the instance's end leaves to their last users, still charged.
  struct Remains {
    std::shared_ptr<Binding> binding;
    Charge charge;
  };
  // The end of the instance: what is bound becomes autoclear, and goes with its last user. May block.
  std::vector<Remains> end();

  // Notices devices that the kernel has unbound.
  void sweep();

  struct Numbers {
    unsigned devices = 0, bound = 0;
  };
  Numbers numbers();
  bool has_kernel_device(uint32_t number);

  void add_observer(engine::Observer* observer) override { (void)observer; }  // nothing is cached of a node
  std::vector<NodeId> nodes() override;
  std::optional<engine::NodeAttributes> attributes(NodeId id) override;
  Result<void> change_attributes(NodeId id, const engine::AttributeChange& change) override;
  Result<void> unlink(NodeId id) override;
  Result<std::unique_ptr<engine::OpenNode>> open(NodeId id, const engine::OpenOptions& options) override;
  Result<void> admit(NodeId id, uint64_t binding, const Visitor& visitor) override;
  void passed(pid_t tid) override { options_.watch->passed(tid); }
  std::vector<engine::DeviceState> snapshot() override;

  // What the kernel wants CAP_SYS_ADMIN of the first user namespace for: device_calls.cc. Errors: ENXIO, and the kernel's.
  // `device`: a descriptor of ours of the whole device.
  Result<void> reread_partitions(uint32_t number, int device);
  // A call that engine::IoctlRule::on_behalf() allows, on a descriptor of process `pid` of the device or of a partition: its
  // claim and its mode are what the kernel goes by. `hangup`: as porter::Errand::ask. Errors: ENOTTY, EINVAL besides.
  Result<void> ioctl(uint32_t number, const porter::DeviceIoctl& call, pid_t pid, int device_of_theirs,
                     int hangup);
  Result<void> edit_partition(uint32_t number, const sys::PartitionEdit& edit);

  // Devices that are bound, but for `except`.
  std::vector<std::shared_ptr<Binding>> bound_besides(uint32_t except);
  // Whether an open file of a device has it exclusively.
  bool claimed(uint32_t number);
  // BLKGETDISKSEQ of a free device. Errors: ENXIO.
  Result<uint64_t> sequence_while_free(uint32_t number);

  // For handles.
  Result<int> add(int64_t number);
  Result<int> get_free();
  Result<int> remove(int64_t number);
  // One of the descriptors of an open file is being closed; if it was the last, closed() follows at once.
  void closing(uint32_t number);
  void closed(uint32_t number, bool exclusive);
  std::shared_ptr<Binding> binding(uint32_t number);
  const Options& options() const { return options_; }

  // The right to bind the device, until it is used or given up.
  // Errors: EBUSY bound, or somebody else is binding it or has a claim on it; ENXIO no such device.
  Result<void> begin_binding(uint32_t number, bool exclusive);
  void end_binding(uint32_t number, std::shared_ptr<Binding> binding);
  // Before it is bound: whoever comes after us, if we are killed then, finds out whether it was. Then, once, whether
  // the journal had room for it, and so has for what follows.
  Result<uint64_t> announce(uint32_t number, const BindingRecord& binding);
  Result<void> announced(uint64_t ticket);
  // What has become of it.
  Result<void> record(uint32_t number, const std::optional<BindingRecord>& binding);

 private:
  Slot* find(uint32_t number);
  // All devices, with what they are bound to; null: free.
  std::map<uint32_t, std::shared_ptr<Binding>> bindings();
  // Lets go of a binding that the kernel has ended.
  void refresh(Slot& slot);
  Slot* find_settled(std::unique_lock<std::mutex>& lock, uint32_t number);
  bool is_used(uint32_t number) const;
  Result<uint32_t> make(std::optional<uint32_t> number);
  engine::NodeOwner new_owner() const;
  uint64_t next_sequence();
  DeviceRecord record_of(const Slot& slot) const;
  Result<DeviceRecord> record_with(uint32_t number, const std::optional<BindingRecord>& binding) const;
  // Where the kernel has no code for that.
  Result<void> find_partitions(const Binding& bound) const;
  void tell(const char* event, uint32_t number, uint32_t kernel_device) const;

  const Options options_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable closed_;
  std::map<uint32_t, Slot> slots_;
  engine::NodeOwner control_owner_;
  bool ended_ = false;
  uint64_t sequences_ = 0;
};

}  // namespace loopfs::kernel
