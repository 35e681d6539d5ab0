#include "daemon/keeper_journal.h"

#include "daemon/records.h"

namespace loopfs::daemon {
namespace {

// What is kept with the record: the token of its binding.
std::vector<int> descriptors_of(const kernel::DeviceRecord& record) {
  if (!record.binding || !record.binding->token) return {};
  return {record.binding->token->descriptor()};
}

}  // namespace

std::string KeeperJournal::name(const char* kind, uint64_t key) const {
  return fmt::format("{}/{}/{}", kind, instance_, key);
}

Result<void> KeeperJournal::put(const kernel::DeviceRecord& record) {
  return store_->put(name("device", record.number), encode_device(record), descriptors_of(record));
}

void KeeperJournal::put_soon(const kernel::DeviceRecord& record) {
  (void)store_->put_soon(name("device", record.number), encode_device(record), descriptors_of(record));
}

Result<uint64_t> KeeperJournal::put_ahead(const kernel::DeviceRecord& record) {
  return store_->put_ahead(name("device", record.number), encode_device(record), descriptors_of(record));
}

void KeeperJournal::drop(uint32_t number) {
  (void)store_->drop_soon(name("device", number));
}

void KeeperJournal::put_control(const engine::NodeOwner& owner) {
  (void)store_->put(fmt::format("control/{}", instance_), encode_owner(owner), {});
}

void KeeperJournal::note_open(uint64_t handle) {
  (void)store_->put_soon(name("open", handle), "", {});
}

void KeeperJournal::forget_open(uint64_t handle) {
  (void)store_->drop_soon(name("open", handle));
}

Result<void> KeeperJournal::put_open(uint64_t handle, int native) {
  return store_->put_soon(name("open", handle), "", std::span(&native, 1));
}

void KeeperJournal::drop_open(uint64_t handle) {
  (void)store_->drop_now(name("open", handle));
  note_open(handle);
}

Result<void> KeeperJournal::put_entry(const fusefs::Entry& entry) {
  return store_->put(name("entry", entry.number), encode_entry(entry), {});
}

void KeeperJournal::drop_entry(uint64_t number) {
  (void)store_->drop_soon(name("entry", number));
}

void KeeperJournal::drop_all(const std::vector<uint32_t>& devices,
                             const std::vector<fusefs::Entry>& entries) {
  for (const uint32_t number : devices) drop(number);
  for (const auto& entry : entries) drop_entry(entry.number);
  (void)store_->drop_soon(fmt::format("control/{}", instance_));
}

}  // namespace loopfs::daemon
