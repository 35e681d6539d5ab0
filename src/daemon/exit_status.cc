#include "daemon/exit_status.h"

#include "keeper/keeper.h"

namespace loopfs::daemon {

int exit_status(const Error& error) {
  switch (error.code) {
    case EINVAL:
    case ENAMETOOLONG:
    case EADDRINUSE:
    case EOPNOTSUPP:
    case ENOSYS:
    case ENOTTY:
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ENODEV:
    case ENXIO:
    case EROFS:
    case EACCES:
    case EPERM:
      return keeper::kGiveUpStatus;
    default:
      return 1;
  }
}

}  // namespace loopfs::daemon
