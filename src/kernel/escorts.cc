#include "kernel/escorts.h"

#include <algorithm>

#include "sys/trace.h"

namespace loopfs::kernel {

bool Escorts::begin(pid_t tid, const std::shared_ptr<Binding::Pass>& pass) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = active_.find(tid);
    if (found != active_.end()) {  // it asks again in the same call: GETATTR after LOOKUP
      found->second.push_back(pass);
      return true;
    }
    if (active_.size() >= kMost) return false;
    active_[tid].push_back(pass);
  }
  const auto self = shared_from_this();
  const bool begun = sys::at_end_of_call(
      *lane_, tid,
      [self, tid](int stop) {
        self->end(tid);
        return stop;
      },
      [self, tid] { self->end(tid); });
  if (!begun) end(tid);
  return begun;
}

bool Escorts::is_under_way(pid_t tid, const Binding* binding, uint32_t partition, unsigned minor_number) {
  const std::lock_guard lock(mutex_);
  const auto found = active_.find(tid);
  return found != active_.end() && std::ranges::any_of(found->second, [&](const auto& pass) {
           return pass->is_for(binding, partition, minor_number);
         });
}

void Escorts::end(pid_t tid) {
  std::vector<std::shared_ptr<Binding::Pass>>
      passes;  // their end may write out what an earlier user has left
  const std::lock_guard lock(mutex_);
  passes = std::move(active_[tid]);
  active_.erase(tid);
}

}  // namespace loopfs::kernel
