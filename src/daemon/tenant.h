// Who asks the daemon for something: the user namespace of a process, and what it is worth.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "policy/limits.h"
#include "sys/namespace.h"
#include "varlink/peer.h"

namespace loopfs::daemon {

// Ids are those of the daemon's own user namespace, the first one.
struct Tenant {
  Fd user_namespace;
  sys::NamespaceId id;
  policy::Chain chain;  // what its devices and instances are charged to
  uid_t uid = 0;        // of the process
  uid_t root_uid = 0;   // root of the namespace
  gid_t root_gid = 0;
  uid_t owner = 0;               // of the outermost namespace below the first one; 0: it is the first one
  bool first_namespace = false;  // in the first user namespace
  bool admin = false;            // has CAP_SYS_ADMIN in its namespace
  bool on_host = false;          // in the daemon's own pid namespace, and so in no container
  sys::NamespaceId pid_namespace;

  // Root of the machine, and not of a container that has the host's user namespace.
  bool rules_machine() const { return first_namespace && admin && on_host; }
  std::vector<sys::IdRange> uids, gids;  // what the namespace's ids are outside
};

// The peer as it is now. Errors: ESRCH it is gone; EPERM its namespace has no root.
Result<Tenant> tenant_of(const varlink::Peer& peer);

// The chain and the owner of a user namespace that nobody need be in. `root_uid` is that of its root.
struct Lineage {
  policy::Chain chain;
  uid_t owner = 0;
  bool first_namespace = false;
};
Result<Lineage> lineage_of(int user_namespace, uid_t root_uid);

// The groups of a user, by name service. Empty if there is no such user.
std::vector<gid_t> groups_of(uid_t uid);

}  // namespace loopfs::daemon
