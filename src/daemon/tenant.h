// Who asks the daemon for something: a user, the user namespace that he is in, and what he is worth there.
#pragma once

#include <sys/types.h>

#include <memory>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "policy/limits.h"
#include "policy/shares.h"
#include "sys/namespace.h"
#include "varlink/call.h"

namespace loopfs::daemon {

// Where a user namespace comes from. Nobody need be in it.
struct Lineage {
  policy::Chain chain;           // what its devices and instances are charged to
  uid_t owner = 0;               // of the outermost namespace below the first one; 0: it is the first one
  bool first_namespace = false;  // it is the first user namespace
};

// `root_uid` is that of the namespace's root.
Result<Lineage> lineage_of(int user_namespace, uid_t root_uid);

// One who has connected, as he was then: read once, before his first request, and never again. What becomes of his
// process does not matter, as it does not for a descriptor. Ids are those of the daemon's own user namespace, the first
// one.
//
// Who he is, is made of what execve(2) cannot change, since the one who holds the socket need not be the one who
// connected: a process may connect, leave the socket to a child, and execute a set-uid program. The kernel attests the
// effective user at connect(2). The user namespace and the pid namespace of a process outlast execve(2). Its
// capabilities do not: what they are now counts only for who was root of the namespace when he connected. A program
// with a set-uid bit, a set-gid bit, file capabilities or ambient ones gives root nothing that root could not have
// by any program; and nobody else is ever `admin`. What a process does to itself (setns(2), unshare(2), capset(2)) between
// connect(2) and now it could have done before.
struct Tenant final : varlink::Caller {
  Fd user_namespace;
  sys::NamespaceId id;
  Lineage lineage;
  uid_t uid = 0;       // effective, at connect(2)
  uid_t root_uid = 0;  // root of the namespace
  gid_t root_gid = 0;
  bool admin = false;    // root of the namespace with CAP_SYS_ADMIN there
  bool on_host = false;  // in the daemon's own pid namespace, and so in no container
  sys::NamespaceId pid_namespace;
  std::vector<sys::IdRange> uids, gids;  // what the namespace's ids are outside

  // Root of the machine, and not of a container that has the host's user namespace.
  bool rules_machine() const { return lineage.first_namespace && admin && on_host; }
};

// Asks the kernel about the peer's process, but nothing that takes a lock of the process or a part in its memory: those can
// be made to wait. Errors: ESRCH it is gone; EPERM its namespace has no root.
Result<std::shared_ptr<const Tenant>> tenant_of(const varlink::Peer& peer);

// Who answers for what the tenant takes of what all have in common.
policy::Owner owner_of(const Tenant& tenant);
// The same of an instance, by its user namespace and the pid namespace of who made it.
policy::Owner owner_of(const Lineage& lineage, const sys::NamespaceId& pid_namespace);

// The groups of a user, by name service. Empty if there is no such user.
std::vector<gid_t> groups_of(uid_t uid);

}  // namespace loopfs::daemon
