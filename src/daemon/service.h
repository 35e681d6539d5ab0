// The daemon's interface, io.loopfs.Manager.
#pragma once

#include "daemon/manager.h"
#include "varlink/dispatcher.h"

namespace loopfs::daemon {

// `manager` is borrowed, and outlives the server that gets the interface. The callers are a Tenant each.
varlink::Interface manager_interface(Manager* manager);

}  // namespace loopfs::daemon
