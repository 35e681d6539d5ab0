#include "daemon/allotments.h"

#include "keeper/item.h"

namespace loopfs::daemon {
namespace {

// Of the keeper's items, for instances, devices, and the owners of loop-control.
constexpr uint64_t kOtherItems = 8192;

}  // namespace

Allotments::Allotments(uint64_t connections_per_user)
    : connections_({.what = "connections",
                    .most = 512,
                    .of_owner = connections_per_user,
                    .for_root = 32,
                    .for_others = 96,
                    .small = 2}),  // one for calls, one for events, as `loopfs run` has them
      open_files_({.what = "open files",
                   .most = keeper::kMostItems - kOtherItems,
                   .of_owner = 16'384,
                   .for_root = 4096,
                   .for_others = 8192,
                   .small = 64}),
      porters_({.what = "processes that touch what is theirs",
                .most = 1024,
                .of_owner = 64,
                .for_root = 64,
                .for_others = 256,
                .small = 4}) {}

std::shared_ptr<Allotments::Threads> Allotments::threads_of(const policy::Owner& owner) {
  const std::lock_guard lock(mutex_);
  std::erase_if(threads_, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<Threads>& known = threads_[owner];
  auto threads = known.lock();
  if (threads) return threads;
  const bool root = owner.kind == policy::Owner::Kind::kMachine;
  const unsigned times = root ? 16 : 1;
  threads = std::make_shared<Threads>(Threads{.requests = std::make_shared<base::Budget>(128 * times),
                                              .closing = std::make_shared<base::Budget>(32 * times),
                                              .escorts = std::make_shared<base::Budget>(64 * times),
                                              .watching = std::make_shared<base::Budget>(16 * times)});
  known = threads;
  return threads;
}

}  // namespace loopfs::daemon
