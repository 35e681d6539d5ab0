// Who may connect to the daemon.
#pragma once

#include <functional>

#include "policy/shares.h"
#include "varlink/server.h"

namespace loopfs::daemon {

// For varlink::Server::Options::admit: makes each peer a Tenant, and counts the connections of each owner.
// `connections`: borrowed. Errors: those of tenant_of(); EBUSY over a bound.
std::function<Result<varlink::Admission>(const varlink::Peer&)> admission(policy::Shares* connections);

}  // namespace loopfs::daemon
