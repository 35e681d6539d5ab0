#include "sys/last_close.h"

#include <fcntl.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace loopfs::sys {

bool give_up_descriptors(unsigned first, std::chrono::milliseconds patience) {
  constexpr int kThreads = 16;
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<int> left;
    int busy = kThreads;
  };
  // Whatever is done with this fails, and the numbers stay taken.
  const int nothing = ::open("/", O_PATH | O_CLOEXEC);
  if (nothing < 0) return false;
  const auto state = std::make_shared<State>();
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", ignored)) {
    const int fd = std::atoi(entry.path().filename().c_str());
    if (fd < static_cast<int>(first) || fd == nothing) continue;
    // At once: from here on nobody is told of what fails.
    if (std::filesystem::read_symlink(entry.path(), ignored) == "/dev/fuse") {
      ::dup3(nothing, fd, O_CLOEXEC);
    } else {
      state->left.push_back(fd);
    }
  }
  for (int i = 0; i < kThreads; ++i) {
    std::thread([state, nothing] {
      std::unique_lock lock(state->mutex);
      while (!state->left.empty()) {
        const int fd = state->left.back();
        state->left.pop_back();
        lock.unlock();
        ::dup3(nothing, fd, O_CLOEXEC);
        lock.lock();
      }
      --state->busy;
      state->changed.notify_all();
    }).detach();
  }
  std::unique_lock lock(state->mutex);
  return state->changed.wait_for(lock, patience, [&] { return state->busy == 0; });
}

}  // namespace loopfs::sys
