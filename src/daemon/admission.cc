#include "daemon/admission.h"

#include "daemon/tenant.h"
#include "policy/shares.h"

namespace loopfs::daemon {
namespace {

constexpr uint64_t kMost = 512;       // a thread and some descriptors each
constexpr uint64_t kForRoot = 32;     // for root of the machine to see what is wrong
constexpr uint64_t kForOthers = 96;   // for owners who have fewer than:
constexpr uint64_t kOfEachOwner = 2;  // one for calls, one for events, as `loopfs run` has them

}  // namespace

std::function<Result<varlink::Admission>(const varlink::Peer&)> admission(uint64_t connections_per_user) {
  auto connections = std::make_shared<policy::Shares>(policy::Bound{.what = "connections",
                                                                    .most = kMost,
                                                                    .of_owner = connections_per_user,
                                                                    .for_root = kForRoot,
                                                                    .for_others = kForOthers,
                                                                    .small = kOfEachOwner});
  return [connections](const varlink::Peer& peer) -> Result<varlink::Admission> {
    auto tenant = tenant_of(peer);
    if (!tenant) return propagate(tenant);
    auto share = connections->take(owner_of(**tenant));
    if (!share) return fail(EBUSY, "{}", share.error().what);
    return varlink::Admission{std::move(*tenant), std::move(*share)};
  };
}

}  // namespace loopfs::daemon
