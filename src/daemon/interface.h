// The text of io.loopfs.Manager, as org.varlink.service.GetInterfaceDescription gives it.
#pragma once

namespace loopfs::daemon {

extern const char kDescription[];

}  // namespace loopfs::daemon
