#include "engine/node_backing.h"

#include <fcntl.h>
#include <linux/falloc.h>

#include "engine/device_numbers.h"
#include "sys/file_identity.h"

namespace loopfs::engine {

Result<std::shared_ptr<Backing>> NodeBacking::create(const std::shared_ptr<Core>& core, GivenFile given,
                                                     const Caller& caller) {
  const NodeId id = *given.node();
  if (id.kind == NodeId::Kind::kControl) return fail(EINVAL, "loop-control is not a file or block device");
  const int flags = ::fcntl(given.get(), F_GETFL);
  if (flags < 0) return errno_fail("flags of the backing device");
  std::shared_ptr<NodeBacking> backing(new NodeBacking);
  backing->writable_ = (flags & O_ACCMODE) != O_RDONLY;
  backing->opened_direct_ = flags & O_DIRECT;
  const auto file = sys::file_identity(given.get());
  backing->identity_ = {file ? file->device : 0, caller.inode_of(id), device_number(id)};
  backing->given_ = std::move(given);
  const OpenOptions options{.read = (flags & O_ACCMODE) != O_WRONLY, .write = backing->writable_};
  {
    const std::lock_guard lock(core->mutex());
    const auto slot = core->find(id.device);
    if (!slot) return fail(EINVAL, "{} is gone", id.name());
    if (!slot->device->has(id.partition)) return fail(EINVAL, "{} is gone", id.name());
    backing->node_ = std::make_unique<DeviceHandle>(core, slot, id.partition, options, false);
  }
  return backing;
}

Result<size_t> NodeBacking::write(uint64_t offset, std::span<const std::byte> bytes) {
  auto put = node_->write(offset, bytes);
  if (!put) return fail(io_error(put.error().code), "write {}", node_->id().name());
  return put;
}

Result<void> NodeBacking::punch(uint64_t offset, uint64_t length) {
  return node_->allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

Result<void> NodeBacking::zero(uint64_t offset, uint64_t length) {
  return node_->allocate(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length);
}

uint32_t NodeBacking::discard_granularity() const {
  const std::lock_guard lock(node_->core().mutex());
  return node_->slot()->discard_granularity;
}

bool NodeBacking::rotational() const {
  const IoView view = node_->view();
  return view.backing && view.backing->rotational();
}

Backing::Base NodeBacking::base() {
  const IoView view = node_->view();
  if (!view.backing) return {};
  Base below = view.backing->base();
  if (below.fd < 0 || view.start > below.size) return {};
  return {below.fd, below.offset + view.start, std::min(view.size, below.size - view.start)};
}

}  // namespace loopfs::engine
