#include "kernel/binding.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <chrono>

namespace loopfs::kernel {
namespace {

constexpr unsigned kMostPasses = 64;
constexpr std::chrono::seconds kPatience{1};
constexpr std::chrono::milliseconds kSettle{20};
constexpr unsigned kLoopMajor = 7, kPartitionMajor = 259;  // LOOP_MAJOR, BLOCK_EXT_MAJOR

bool has_number(int device, uint32_t partition, unsigned minor_number) {
  struct stat status = {};
  const unsigned major_number = partition == 0 ? kLoopMajor : kPartitionMajor;
  return ::fstat(device, &status) == 0 && status.st_rdev == makedev(major_number, minor_number);
}

}  // namespace

Binding::Binding(uint32_t number, uint64_t sequence, std::shared_ptr<const sys::LoopBinding> token,
                 const sys::FileIdentity& file, std::string backing_path)
    : number_(number),
      sequence_(sequence),
      token_(std::move(token)),
      file_(file),
      backing_path_(std::move(backing_path)) {}

Result<std::shared_ptr<Binding>> Binding::of(uint32_t number, int device, const sys::FileIdentity& file,
                                             std::string backing_path) {
  auto sequence = sys::disk_sequence(device);
  if (!sequence) return propagate(sequence);
  auto token = sys::LoopBinding::watch(number);
  if (!token) return fail(ENXIO, "loop{}: not bound", number);
  return std::shared_ptr<Binding>(new Binding(number, *sequence,
                                              std::make_shared<const sys::LoopBinding>(std::move(*token)),
                                              file, std::move(backing_path)));
}

std::shared_ptr<Binding> Binding::again(uint32_t number, uint64_t sequence,
                                        std::shared_ptr<const sys::LoopBinding> token,
                                        const sys::FileIdentity& file, std::string backing_path) {
  if (!token->bound()) return nullptr;
  return std::shared_ptr<Binding>(
      new Binding(number, sequence, std::move(token), file, std::move(backing_path)));
}

Result<uint64_t> Binding::current_sequence() const {
  const auto facts = sys::loop_facts(number_);
  if (!facts || !bound()) return fail(ENXIO, "loop{}: not bound", number_);
  return facts->disk_sequence;
}

bool Binding::has_open(int device) const {
  const auto sequence = sys::disk_sequence(device);
  if (!sequence) return false;
  if (*sequence == sequence_) return bound();
  // Its file was changed; or it is a partition's node that leads to another disk by now.
  const auto current = current_sequence();
  return current && *current == *sequence;
}

Result<Fd> Binding::open(uint32_t partition, int flags) const {
  auto device = sys::open_loop_device(number_, partition, flags);
  if (device && !has_open(device->get())) return fail(ESTALE, "loop{}: bound anew", number_);
  return device;
}

Binding::Pass::Pass(std::shared_ptr<Binding> binding, uint32_t partition, unsigned minor_number, Fd device)
    : binding_(std::move(binding)),
      partition_(partition),
      minor_number_(minor_number),
      device_(std::move(device)) {}

Binding::Pass::~Pass() {
  device_.reset();
  const std::lock_guard lock(binding_->mutex_);
  --binding_->passes_;
  binding_->passed_.notify_all();
}

Result<std::shared_ptr<Binding::Pass>> Binding::pass(uint32_t partition, unsigned minor_number) {
  {
    std::unique_lock lock(mutex_);
    if (!passed_.wait_for(lock, kPatience, [this] { return passes_ < kMostPasses; })) {
      return fail(EBUSY, "open loop{}: too many at once", number_);
    }
    ++passes_;
  }
  auto device = open(partition, O_RDONLY | O_NONBLOCK);
  if (device && !has_number(device->get(), partition, minor_number)) {
    device = fail(ESTALE, "loop{}p{}: has another number", number_, partition);
  }
  if (device) return std::make_shared<Pass>(shared_from_this(), partition, minor_number, std::move(*device));
  const std::lock_guard lock(mutex_);
  --passes_;
  passed_.notify_all();
  return propagate(device);
}

bool Binding::claimed() const {
  const auto device = sys::open_loop_device(number_, 0, O_RDONLY | O_NONBLOCK | O_EXCL);
  return !device && device.error().code == EBUSY;
}

void Binding::settle() {
  if (!ending()) return;
  std::unique_lock lock(mutex_);
  passed_.wait_for(lock, kSettle, [this] { return passes_ == 0; });
}

}  // namespace loopfs::kernel
