// Who may connect to the daemon.
#pragma once

#include <cstdint>
#include <functional>

#include "varlink/server.h"

namespace loopfs::daemon {

// For varlink::Server::Options::admit: makes each peer a Tenant, and counts the connections of each owner, of which one who
// is not root of the machine may have `connections_per_user`. Errors: those of tenant_of(); EBUSY over a bound.
std::function<Result<varlink::Admission>(const varlink::Peer&)> admission(uint64_t connections_per_user);

}  // namespace loopfs::daemon
