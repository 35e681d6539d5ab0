// Who is at the other end of a Unix socket.
#pragma once

#include <sys/types.h>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::varlink {

// The process that called connect(2), as it was then: it may have handed the socket to others, changed its
// ids or ended since.
struct Peer {
  pid_t pid = 0;  // as this process's pid namespace numbers it
  uid_t uid = 0;
  gid_t gid = 0;
  Fd pidfd;
};

// SO_PEERCRED and SO_PEERPIDFD of unix(7); without the latter (before 6.5), or where it refuses a process
// that was reaped, peer_pidfd_by_number(). Errors: ESRCH the process is gone or of a pid namespace out of
// sight.
Result<Peer> peer_of(int socket);

// A pidfd of the process `pid`, if it still is the one at the other end as far as can be told: it holds the
// connection open, it is alive, and its effective user is `uid`. Not proof if the socket was handed to
// another process and the number was used again for the same user. Errors: ESRCH.
Result<Fd> peer_pidfd_by_number(int socket, pid_t pid, uid_t uid);

}  // namespace loopfs::varlink
