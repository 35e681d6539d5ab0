// Methods of io.loopfs.Manager that are about one device.
#pragma once

#include "daemon/manager.h"
#include "varlink/call.h"

namespace loopfs::daemon {

void device_ioctl(Manager& manager, varlink::Call& call);
void edit_partition(Manager& manager, varlink::Call& call);

}  // namespace loopfs::daemon
