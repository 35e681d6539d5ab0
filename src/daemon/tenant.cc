#include "daemon/tenant.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <unistd.h>

#include "sys/pidfd.h"
#include "sys/process.h"
#include "sys/procfs.h"

namespace loopfs::daemon {
namespace {

constexpr int kMostGroups = 1024;

bool in_own_pid_namespace(const sys::NamespaceId& pid_namespace) {
  static const auto own = sys::pid_namespace_of(::getpid());
  return own && *own == pid_namespace;
}

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

Result<std::shared_ptr<const Tenant>> tenant_of(const varlink::Peer& peer) {
  auto tenant = std::make_shared<Tenant>();
  const std::string path = fmt::format("/proc/{}/ns/user", peer.pid);
  tenant->user_namespace.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!tenant->user_namespace.valid()) return fail(ESRCH, "open '{}'", path);
  const auto capabilities = sys::effective_capabilities_of(peer.pid);
  auto uids = sys::id_map_of(peer.pid, sys::IdKind::kUser);
  auto gids = sys::id_map_of(peer.pid, sys::IdKind::kGroup);
  const auto pid_namespace = sys::pid_namespace_of(peer.pid);
  // Capabilities and maps were those of this namespace only if the process has not left it, and has not gone, leaving
  // its number to another.
  const auto id = sys::namespace_id(tenant->user_namespace.get());
  const auto still_in = sys::user_namespace_of(peer.pid);
  const auto still = sys::pid_of_pidfd(peer.pidfd.get());
  if (!capabilities || !uids || !gids || !pid_namespace || !id || !still_in || *still_in != *id || !still ||
      *still != peer.pid)
    return fail(ESRCH, "the process that connected");
  const auto root_uid = sys::map_out(*uids, 0), root_gid = sys::map_out(*gids, 0);
  if (!root_uid || !root_gid) return fail(EPERM, "a user namespace without root");
  auto lineage = lineage_of(tenant->user_namespace.get(), *root_uid);
  if (!lineage) return propagate(lineage);
  tenant->id = *id;
  tenant->lineage = std::move(*lineage);
  tenant->uid = peer.uid;
  tenant->root_uid = *root_uid;
  tenant->root_gid = *root_gid;
  tenant->admin = peer.uid == *root_uid && ((*capabilities >> CAP_SYS_ADMIN) & 1) != 0;
  tenant->pid_namespace = *pid_namespace;
  tenant->on_host = in_own_pid_namespace(*pid_namespace);
  tenant->uids = std::move(*uids);
  tenant->gids = std::move(*gids);
  return tenant;
}

policy::Owner owner_of(const Lineage& lineage, const sys::NamespaceId& pid_namespace) {
  using Kind = policy::Owner::Kind;
  if (lineage.first_namespace) {
    if (in_own_pid_namespace(pid_namespace)) return {Kind::kMachine, 0};
    return {Kind::kPlainContainer, pid_namespace.inode};
  }
  if (lineage.owner != 0) return {Kind::kUser, lineage.owner};
  return {Kind::kContainer, lineage.chain[lineage.chain.size() - 2].user_namespace.inode};
}

// A user of the first user namespace is one in whatever container: he can get into any number of pid namespaces by
// set-uid programs.
policy::Owner owner_of(const Tenant& tenant) {
  const bool plain_user =
      tenant.lineage.first_namespace && (tenant.uid != 0 || (tenant.on_host && !tenant.admin));
  if (plain_user) return {policy::Owner::Kind::kUser, tenant.uid};
  return owner_of(tenant.lineage, tenant.pid_namespace);
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
