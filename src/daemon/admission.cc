#include "daemon/admission.h"

#include "daemon/tenant.h"
#include "policy/shares.h"

namespace loopfs::daemon {

std::function<Result<varlink::Admission>(const varlink::Peer&)> admission(policy::Shares* connections) {
  return [connections](const varlink::Peer& peer) -> Result<varlink::Admission> {
    auto tenant = tenant_of(peer);
    if (!tenant) return propagate(tenant);
    auto share = connections->take(owner_of(**tenant));
    if (!share) return fail(EBUSY, "{}", share.error().what);
    return varlink::Admission{std::move(*tenant), std::move(*share)};
  };
}

}  // namespace loopfs::daemon
