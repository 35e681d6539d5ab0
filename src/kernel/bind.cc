#include "kernel/bind.h"

#include <fcntl.h>

#include <thread>

#include "instance/settings.h"
#include "kernel/partition_worker.h"
#include "sys/loop_device.h"

namespace loopfs::kernel {
namespace {

constexpr int kTries = 8;
constexpr uint32_t kSector = 512;
constexpr std::chrono::milliseconds kPause{5};

// What the handle asks for, and direct I/O besides where nothing is said about it: if the file cannot, the kernel
// leaves it. But never a larger block than the caller knows of, which it would choose for direct I/O.
loop_config with_defaults(const loop_config& asked) {
  loop_config config = asked;
  if ((config.info.lo_flags & LO_FLAGS_DIRECT_IO) == 0) {
    config.info.lo_flags |= LO_FLAGS_DIRECT_IO;
    if (config.block_size == 0) config.block_size = kSector;
  }
  return config;
}

// Ends the right to bind, with or without a binding.
class Turn {
 public:
  Turn(KernelEngine& engine, uint32_t number) : engine_(engine), number_(number) {}
  ~Turn() { engine_.end_binding(number_, std::move(binding_)); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  void succeeded(std::shared_ptr<Binding> binding) { binding_ = std::move(binding); }

 private:
  KernelEngine& engine_;
  const uint32_t number_;
  std::shared_ptr<Binding> binding_;
};

bool is_of_file(int device, dev_t file_system, ino_t inode) {
  const auto info = sys::loop_status(device);
  return info && info->lo_device == file_system && info->lo_inode == inode;
}

sys::FileIdentity file_of(const BindingRecord& record) {
  return {record.backing_device, record.backing_inode};
}

bool is_behind(const Binding& binding, uint64_t sequence_now, porter::ForeignFile& file) {
  if (sequence_now == binding.sequence())
    return binding.file() == sys::FileIdentity{file.facts().device, file.facts().inode};
  // LOOP_CHANGE_FD: only the kernel knows to what.
  const auto device = binding.open(0, O_RDONLY | O_NONBLOCK);
  return device && file.is_behind(device->get());
}

// Two file systems on the same bytes destroy them. Not EBUSY: mount(8) takes that for a device that somebody else was
// faster to bind, and tries the next one, for ever.
Result<void> check_shared(KernelEngine& engine, uint32_t number, porter::ForeignFile& file,
                          const loop_config& config) {
  for (const auto& other : engine.bound_besides(number)) {
    const auto facts = sys::loop_facts(other->number());
    const bool overlaps = facts && instance::ranges_overlap(config.info.lo_offset, config.info.lo_sizelimit,
                                                            facts->offset, facts->sizelimit);
    if (overlaps && is_behind(*other, facts->disk_sequence, file) && other->claimed())
      return fail(ETXTBSY, "loop{}: the file is in use by another device", number);
  }
  return {};
}

struct Attempt {
  DevicePool::Claim claim;
  BindingRecord record;
};

// Configures devices of the pool until one is not taken by somebody else on the host.
Result<Attempt> configure_one(KernelEngine& engine, uint32_t number, int mode, const loop_config& config,
                              porter::ForeignFile& file, BindingRecord record) {
  for (int tries = 0;; ++tries) {
    auto claim = engine.options().pool->take(mode);
    if (!claim) return propagate(claim);
    record.kernel_device = claim->number;
    const auto ticket = engine.announce(number, record);
    if (!ticket) {
      claim->device.reset();
      engine.options().pool->give_back(claim->number);
      return propagate(ticket);
    }
    auto configured = file.bind_to(claim->device.get(), config);
    // The answer has come while the kernel was at it.
    if (auto announced = engine.announced(*ticket); configured && !announced) {
      (void)sys::clear_loop_device(claim->device.get());
      configured = announced;
    }
    if (configured) return Attempt{std::move(*claim), std::move(record)};
    claim->device.reset();
    const bool taken = configured.error().code == EBUSY;
    if (!taken) engine.options().pool->give_back(claim->number);
    if (taken && tries < kTries) continue;
    (void)engine.record(number, std::nullopt);
    return propagate(configured);
  }
}

// Makes the device, which is bound by now, that of the instance.
Result<Bound> enter(KernelEngine& engine, uint32_t number, bool exclusive, int mode, Attempt& attempt) {
  DevicePool::Claim& claim = attempt.claim;
  auto binding =
      Binding::of(claim.number, claim.device.get(), file_of(attempt.record), attempt.record.backing_path);
  if (!binding) return propagate(binding);
  Bound bound{.binding = *binding, .native = {}};
  if (!exclusive) {
    auto native = (*binding)->open(0, mode);
    if (!native) return propagate(native);
    bound.native = std::move(*native);
  }
  attempt.record.sequence = (*binding)->sequence();
  attempt.record.token = (*binding)->token();
  if (auto recorded = engine.record(number, attempt.record); !recorded) return propagate(recorded);
  if (exclusive) bound.native = std::move(claim.device);
  return bound;
}

}  // namespace

Result<Bound> bind_device(KernelEngine& engine, uint32_t number, const engine::OpenOptions& options,
                          const loop_config& config, const engine::Caller& caller) {
  const int fd = static_cast<int>(config.fd);
  auto file = porter::ForeignFile::take(engine.options().strangers, caller.thread(), fd);
  if (!file) return propagate(file);
  if (auto begun = engine.begin_binding(number, options.exclusive); !begun) return propagate(begun);
  Turn turn(engine, number);

  const int mode = options.write ? O_RDWR : O_RDONLY;
  const BindingRecord record{.backing_path = caller.path_of_fd(fd),
                             .backing_device = file->facts().device,
                             .backing_inode = file->facts().inode};
  const bool writable =
      options.write && file->facts().writable && (config.info.lo_flags & LO_FLAGS_READ_ONLY) == 0;
  if (writable) {
    if (auto may = check_shared(engine, number, *file, config); !may) return propagate(may);
  }
  auto attempt = configure_one(engine, number, mode, with_defaults(config), *file, record);
  if (!attempt) return propagate(attempt);
  auto bound = enter(engine, number, options.exclusive, mode, *attempt);
  if (!bound) {  // no room in the journal, or the instance has ended: nobody else would unbind it
    (void)sys::clear_loop_device(attempt->claim.device.get());
    attempt->claim.device.reset();
    engine.options().pool->give_back(attempt->claim.number);
    return propagate(bound);
  }
  const std::string& worker = engine.options().partition_worker;
  if ((config.info.lo_flags & LO_FLAGS_PARTSCAN) != 0 && !worker.empty())
    (void)add_partitions(*bound->binding, worker);
  turn.succeeded(bound->binding);
  return bound;
}

namespace {

// Whoever binds a device has a claim on it until he is through. What is bound later than `deadline` is the next server's to
// find and to free.
Result<Fd> wait_for_binder(uint32_t number, std::chrono::steady_clock::time_point deadline) {
  for (;;) {
    auto device = sys::open_loop_device(number, 0, O_RDONLY | O_EXCL);
    if (device || device.error().code != EBUSY || std::chrono::steady_clock::now() > deadline) return device;
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace

std::shared_ptr<Binding> restore_binding(const BindingRecord& record,
                                         std::chrono::steady_clock::time_point deadline) {
  if (record.token) {
    return Binding::again(record.kernel_device, record.sequence, record.token, file_of(record),
                          record.backing_path);
  }
  auto device = wait_for_binder(record.kernel_device, deadline);
  if (!device) return nullptr;
  auto binding = Binding::of(record.kernel_device, device->get(), file_of(record), record.backing_path);
  if (!binding) return nullptr;
  return is_of_file(device->get(), record.backing_device, record.backing_inode) ? *binding : nullptr;
}

}  // namespace loopfs::kernel
