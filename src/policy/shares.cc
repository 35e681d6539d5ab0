#include "policy/shares.h"

#include <map>
#include <mutex>

namespace loopfs::policy {

struct Shares::State {
  explicit State(const Bound& bound_) : bound(bound_) {}

  const Bound bound;
  mutable std::mutex mutex;  // guards what follows
  std::map<Owner, uint64_t> of_owner;
  uint64_t all = 0;
};

std::string to_string(const Owner& owner) {
  switch (owner.kind) {
    case Owner::Kind::kMachine:
      return "root of the machine";
    case Owner::Kind::kUser:
      return fmt::format("user {}", owner.number);
    case Owner::Kind::kContainer:
      return fmt::format("the container of user namespace {}", owner.number);
    case Owner::Kind::kPlainContainer:
      return fmt::format("the container of pid namespace {}", owner.number);
  }
  return "";
}

Shares::Shares(const Bound& bound) : state_(std::make_shared<State>(bound)) {}

Result<Share> Shares::take(const Owner& owner) {
  const Bound& bound = state_->bound;
  const bool root = owner.kind == Owner::Kind::kMachine;
  {
    const std::lock_guard lock(state_->mutex);
    const auto found = state_->of_owner.find(owner);
    const uint64_t has = found == state_->of_owner.end() ? 0 : found->second;
    if (!root && has >= bound.of_owner) {
      return fail(EDQUOT, "{} has {} {}, the most that one may have", to_string(owner), has, bound.what);
    }
    uint64_t kept = 0;
    if (!root) kept += bound.for_root;
    if (!root && has >= bound.small) kept += bound.for_others;
    if (state_->all + kept >= bound.most) {
      return fail(EAGAIN, "{} {} are in use, the rest is not for {}", state_->all, bound.what,
                  to_string(owner));
    }
    ++state_->of_owner[owner];
    ++state_->all;
  }
  return Share(nullptr, [state = state_, owner](std::nullptr_t) {
    const std::lock_guard lock(state->mutex);
    --state->all;
    const auto entry = state->of_owner.find(owner);
    if (--entry->second == 0) state->of_owner.erase(entry);
  });
}

uint64_t Shares::used(const Owner& owner) const {
  const std::lock_guard lock(state_->mutex);
  const auto found = state_->of_owner.find(owner);
  return found == state_->of_owner.end() ? 0 : found->second;
}

uint64_t Shares::used() const {
  const std::lock_guard lock(state_->mutex);
  return state_->all;
}

}  // namespace loopfs::policy
