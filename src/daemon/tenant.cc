#include "daemon/tenant.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <unistd.h>

#include "sys/pidfd.h"
#include "sys/procfs.h"

namespace loopfs::daemon {
namespace {

constexpr int kMostGroups = 1024;

}  // namespace

Result<Lineage> lineage_of(int user_namespace, uid_t root_uid) {
  Lineage lineage;
  std::optional<Fd> above;
  uid_t uid = root_uid;
  for (int level = user_namespace;; level = above->get()) {
    const auto id = sys::namespace_id(level);
    if (!id) return propagate(id);
    lineage.chain.push_back({*id, uid});
    auto parent = sys::parent_user_namespace(level);
    if (!parent) return propagate(parent);
    if (!*parent) break;
    const auto owner = sys::owner_of_user_namespace(level);
    if (!owner) return propagate(owner);
    uid = lineage.owner = *owner;
    above = std::move(*parent);
  }
  lineage.first_namespace = lineage.chain.size() == 1;
  return lineage;
}

Result<Tenant> tenant_of(const varlink::Peer& peer) {
  Tenant tenant;
  const std::string path = fmt::format("/proc/{}/ns/user", peer.pid);
  tenant.user_namespace.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!tenant.user_namespace.valid()) return fail(ESRCH, "open '{}'", path);
  auto uids = sys::id_map_of(peer.pid, sys::IdKind::kUser);
  auto gids = sys::id_map_of(peer.pid, sys::IdKind::kGroup);
  const auto status = sys::status_of(peer.pid);
  const auto pid_namespace = sys::pid_namespace_of(peer.pid);
  const auto own_pid_namespace = sys::pid_namespace_of(::getpid());
  // All of this was of the peer's only if its number still is its own.
  const auto still = sys::pid_of_pidfd(peer.pidfd.get());
  if (!uids || !gids || !status || !pid_namespace || !own_pid_namespace || !still || *still != peer.pid)
    return fail(ESRCH, "the calling process");
  const auto root_uid = sys::map_out(*uids, 0), root_gid = sys::map_out(*gids, 0);
  if (!root_uid || !root_gid) return fail(EPERM, "a user namespace without root");
  auto lineage = lineage_of(tenant.user_namespace.get(), *root_uid);
  if (!lineage) return propagate(lineage);
  tenant.id = lineage->chain.front().user_namespace;
  tenant.chain = std::move(lineage->chain);
  tenant.owner = lineage->owner;
  tenant.first_namespace = lineage->first_namespace;
  tenant.uid = peer.uid;
  tenant.pid_namespace = *pid_namespace;
  tenant.on_host = *pid_namespace == *own_pid_namespace;
  tenant.root_uid = *root_uid;
  tenant.root_gid = *root_gid;
  tenant.admin = ((status->effective_capabilities >> CAP_SYS_ADMIN) & 1) != 0;
  tenant.uids = std::move(*uids);
  tenant.gids = std::move(*gids);
  return tenant;
}

std::vector<gid_t> groups_of(uid_t uid) {
  std::vector<char> text(16384);
  passwd entry = {}, *found = nullptr;
  if (::getpwuid_r(uid, &entry, text.data(), text.size(), &found) != 0 || found == nullptr) return {};
  std::vector<gid_t> groups(kMostGroups);
  int count = kMostGroups;
  if (::getgrouplist(entry.pw_name, entry.pw_gid, groups.data(), &count) < 0) return {};
  groups.resize(static_cast<size_t>(count));
  return groups;
}

}  // namespace loopfs::daemon
