#include "kernel/escorts.h"

#include <algorithm>
#include <future>

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
  auto stopping = std::make_shared<std::promise<bool>>();
  auto answer = stopping->get_future();
  const bool begun = lane_->run_at_once([self = shared_from_this(), tid, stopping] {
    const bool stops = sys::stop_at_end_of_call(tid).has_value();
    if (!stops) {
      const std::lock_guard lock(self->mutex_);
      self->active_.erase(tid);
    }
    stopping->set_value(stops);
    if (stops) self->escort(tid);
  });
  if (begun) return answer.get();
  const std::lock_guard lock(mutex_);
  active_.erase(tid);
  return false;
}

bool Escorts::is_under_way(pid_t tid, const Binding* binding, uint32_t partition, unsigned minor_number) {
  const std::lock_guard lock(mutex_);
  const auto found = active_.find(tid);
  return found != active_.end() && std::ranges::any_of(found->second, [&](const auto& pass) {
           return pass->is_for(binding, partition, minor_number);
         });
}

void Escorts::escort(pid_t tid) {
  const auto stop = sys::wait_for_stop(tid);
  std::vector<std::shared_ptr<Binding::Pass>> passes;
  {
    const std::lock_guard lock(mutex_);
    passes = std::move(active_[tid]);
    active_.erase(tid);
  }
  passes.clear();  // may write out what an earlier user has left
  if (stop) sys::let_go(tid, *stop);
}

}  // namespace loopfs::kernel
