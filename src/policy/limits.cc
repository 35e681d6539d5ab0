#include "policy/limits.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <span>
#include <tuple>
#include <unordered_map>

namespace loopfs::policy {
namespace {

size_t mix(uint64_t a, uint64_t b) {
  uint64_t x = (a ^ (b + 0x9e3779b97f4a7c15U + (a << 6U) + (a >> 2U))) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31U);
}

struct Hash {
  size_t operator()(const sys::NamespaceId& id) const { return mix(id.device, id.inode); }
  size_t operator()(const Level& level) const { return mix((*this)(level.user_namespace), level.uid); }
};

struct Account {
  uint64_t used = 0;
  std::optional<uint64_t> limit;
};

}  // namespace

// The counts themselves, apart from Limits so that a Charge can keep them. Callers hold mutex() for
// everything but is_first().
class Ledger {
 public:
  explicit Ledger(Limits::Options options) : options_(std::move(options)) {}

  std::mutex& mutex() { return mutex_; }
  bool is_first(const sys::NamespaceId& id) const { return id == options_.first_namespace; }

  Result<void> take(const Chain& chain) {
    for (size_t i = 0; i < chain.size(); ++i) {
      Account& account = accounts_[chain[i]];
      const uint64_t limit = limit_of(chain[i], account);
      if (account.used < limit) {
        ++account.used;
        continue;
      }
      drop_if_idle(chain[i]);
      give_back(std::span(chain).first(i));
      return full(chain[i], limit);
    }
    return {};
  }

  void give_back(std::span<const Level> levels) {
    for (const Level& level : levels) {
      --accounts_.at(level).used;
      drop_if_idle(level);
    }
  }

  void set_limit(const Level& level, std::optional<uint64_t> n) {
    accounts_[level].limit = n;
    drop_if_idle(level);
  }

  void set_namespace_limit(const sys::NamespaceId& id, uint64_t n) { namespace_limits_[id] = n; }

  uint64_t namespace_limit(const sys::NamespaceId& id) const {
    const auto found = namespace_limits_.find(id);
    if (found != namespace_limits_.end()) return found->second;
    return is_first(id) ? options_.first_default : kUnlimited;
  }

  void forget(const sys::NamespaceId& id) {
    namespace_limits_.erase(id);
    for (auto& [level, account] : accounts_) {
      if (level.user_namespace == id) account.limit.reset();
    }
    std::erase_if(accounts_, [](const auto& entry) { return is_idle(entry.second); });
  }

  Usage usage(const Level& level) const {
    const auto found = accounts_.find(level);
    const Account account = found != accounts_.end() ? found->second : Account{};
    return {level, account.used, limit_of(level, account), account.limit.has_value()};
  }

  std::vector<Usage> list() const {
    std::vector<Usage> all;
    all.reserve(accounts_.size());
    for (const auto& [level, account] : accounts_) {
      all.push_back({level, account.used, limit_of(level, account), account.limit.has_value()});
    }
    return all;
  }

 private:
  static bool is_idle(const Account& account) { return account.used == 0 && !account.limit; }

  uint64_t limit_of(const Level& level, const Account& account) const {
    return account.limit ? *account.limit : namespace_limit(level.user_namespace);
  }

  void drop_if_idle(const Level& level) {
    const auto found = accounts_.find(level);
    if (found != accounts_.end() && is_idle(found->second)) accounts_.erase(found);
  }

  tl::unexpected<Error> full(const Level& level, uint64_t limit) const {
    const std::string where = is_first(level.user_namespace)
                                  ? std::string("the first user namespace")
                                  : fmt::format("user namespace {}", level.user_namespace.inode);
    return fail(ENOSPC, "{}: uid {} in {} has reached its limit of {}", options_.what, level.uid, where,
                limit);
  }

  const Limits::Options options_;
  mutable std::mutex mutex_;  // guards what follows
  std::unordered_map<Level, Account, Hash> accounts_;
  std::unordered_map<sys::NamespaceId, uint64_t, Hash> namespace_limits_;
};

Charge& Charge::operator=(Charge&& other) noexcept {
  if (this == &other) return *this;
  reset();
  ledger_ = std::move(other.ledger_);
  chain_ = std::move(other.chain_);
  return *this;
}

void Charge::reset() {
  if (!ledger_) return;
  {
    const std::lock_guard lock(ledger_->mutex());
    ledger_->give_back(chain_);
  }
  ledger_.reset();  // after the lock: this may be the last owner of the mutex
  chain_.clear();
}

Limits::Limits(Options options) : ledger_(std::make_shared<Ledger>(std::move(options))) {}

Result<Charge> Limits::charge(const Chain& chain) {
  if (chain.empty()) return fail(EINVAL, "charge no user namespace at all");
  const std::lock_guard lock(ledger_->mutex());
  auto taken = ledger_->take(chain);
  if (!taken) return propagate(taken);
  return Charge(ledger_, chain);
}

void Limits::set_limit(const Level& level, uint64_t n) {
  const std::lock_guard lock(ledger_->mutex());
  ledger_->set_limit(level, n);
}

void Limits::clear_limit(const Level& level) {
  const std::lock_guard lock(ledger_->mutex());
  ledger_->set_limit(level, std::nullopt);
}

void Limits::set_namespace_limit(const sys::NamespaceId& user_namespace, uint64_t n) {
  const std::lock_guard lock(ledger_->mutex());
  ledger_->set_namespace_limit(user_namespace, n);
}

uint64_t Limits::namespace_limit(const sys::NamespaceId& user_namespace) const {
  const std::lock_guard lock(ledger_->mutex());
  return ledger_->namespace_limit(user_namespace);
}

void Limits::forget(const sys::NamespaceId& user_namespace) {
  const std::lock_guard lock(ledger_->mutex());
  ledger_->forget(user_namespace);
}

Usage Limits::usage(const Level& level) const {
  const std::lock_guard lock(ledger_->mutex());
  return ledger_->usage(level);
}

std::vector<Usage> Limits::list() const {
  std::vector<Usage> all;
  {
    const std::lock_guard lock(ledger_->mutex());
    all = ledger_->list();
  }
  const auto order = [this](const Usage& usage) {
    const auto& id = usage.level.user_namespace;
    return std::tuple(!ledger_->is_first(id), id.device, id.inode, usage.level.uid);
  };
  std::sort(all.begin(), all.end(), [&](const Usage& a, const Usage& b) { return order(a) < order(b); });
  return all;
}

}  // namespace loopfs::policy
