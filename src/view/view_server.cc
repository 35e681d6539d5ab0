#include "view/view_server.h"

#include <fcntl.h>

#include <cstring>
#include <ctime>

#include "fusefs/listing.h"

namespace loopfs::view {
namespace {

constexpr unsigned kFileSize = 4096;  // what sysfs says of its files

ViewServer& server_of(fuse_req_t request) {
  return *static_cast<ViewServer*>(fuse_req_userdata(request));
}

struct stat attributes_of(uint64_t inode, const Entry& entry) {
  struct stat status {};
  status.st_ino = inode;
  status.st_nlink = 1;
  status.st_blksize = kFileSize;
  static const time_t kStart = ::time(nullptr);  // sysfs has the time of the first lookup
  status.st_atim.tv_sec = status.st_mtim.tv_sec = status.st_ctim.tv_sec = kStart;
  switch (entry.kind) {
    case Entry::Kind::kDirectory:
      status.st_mode = S_IFDIR | 0755;
      status.st_nlink = 2;
      break;
    case Entry::Kind::kFile:
      status.st_mode = S_IFREG | 0444;
      status.st_size = kFileSize;
      break;
    case Entry::Kind::kLink:
      status.st_mode = S_IFLNK | 0777;
      status.st_size = static_cast<off_t>(entry.text.size());
      break;
  }
  return status;
}

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  ViewServer& server = server_of(request);
  const std::string directory = server.path_of(parent);
  const std::string path = directory.empty() ? name : directory + "/" + name;
  const auto entry = server.tree().find(path);
  if (!entry) {
    fuse_reply_err(request, entry.error().code);
    return;
  }
  fuse_entry_param answer{};
  answer.ino = server.remember(path);
  answer.attr = attributes_of(answer.ino, *entry);
  if (fuse_reply_entry(request, &answer) != 0) server.forget(answer.ino, 1);
}

void forget(fuse_req_t request, fuse_ino_t inode, uint64_t lookups) {
  server_of(request).forget(inode, lookups);
  fuse_reply_none(request);
}

void forget_multi(fuse_req_t request, size_t count, fuse_forget_data* forgets) {
  for (size_t i = 0; i < count; ++i) server_of(request).forget(forgets[i].ino, forgets[i].nlookup);
  fuse_reply_none(request);
}

void getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
  ViewServer& server = server_of(request);
  const auto entry = server.tree().find(server.path_of(inode));
  if (!entry) {
    fuse_reply_err(request, entry.error().code);
    return;
  }
  const struct stat status = attributes_of(inode, *entry);
  fuse_reply_attr(request, &status, 0);
}

void readlink(fuse_req_t request, fuse_ino_t inode) {
  ViewServer& server = server_of(request);
  const auto entry = server.tree().find(server.path_of(inode));
  if (!entry) {
    fuse_reply_err(request, entry.error().code);
  } else if (entry->kind != Entry::Kind::kLink) {
    fuse_reply_err(request, EINVAL);
  } else {
    fuse_reply_readlink(request, entry->text.c_str());
  }
}

// An open file keeps the text of the moment of its open, as sysfs does for a reader that starts at 0.
void open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
  ViewServer& server = server_of(request);
  if ((file->flags & O_ACCMODE) != O_RDONLY) {
    fuse_reply_err(request, EACCES);
    return;
  }
  auto text = server.tree().read(server.path_of(inode));
  if (!text) {
    fuse_reply_err(request, text.error().code);
    return;
  }
  auto kept = std::make_unique<std::string>(std::move(*text));
  file->fh = reinterpret_cast<uint64_t>(kept.get());
  file->direct_io = 1;  // the text is shorter than st_size says
  if (fuse_reply_open(request, file) == 0) (void)kept.release();
}

void read(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* file) {
  const auto& text = *reinterpret_cast<const std::string*>(file->fh);
  // A copy: once the kernel has the answer, its RELEASE may come to another thread before this one is back.
  const std::string part = text.substr(std::min(static_cast<size_t>(offset), text.size()), size);
  fuse_reply_buf(request, part.data(), part.size());
}

void release(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  delete reinterpret_cast<std::string*>(file->fh);
  fuse_reply_err(request, 0);
}

void opendir(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
  ViewServer& server = server_of(request);
  auto names = server.tree().list(server.path_of(inode));
  if (!names) {
    fuse_reply_err(request, names.error().code);
    return;
  }
  names->insert(names->begin(), {{"."}, {".."}});
  auto kept = std::make_unique<std::vector<Listed>>(std::move(*names));
  file->fh = reinterpret_cast<uint64_t>(kept.get());
  if (fuse_reply_open(request, file) == 0) (void)kept.release();
}

void readdir(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* file) {
  const auto& names = *reinterpret_cast<const std::vector<Listed>*>(file->fh);
  fusefs::Listing listing(request, size, offset);
  for (size_t i = static_cast<size_t>(offset); i < names.size(); ++i) {
    // readdir's inode numbers are not looked at; the type is.
    const struct stat status = attributes_of(FUSE_ROOT_ID + i, {.kind = names[i].kind, .text = {}});
    if (!listing.add(names[i].name, status, static_cast<off_t>(i + 1))) break;
  }
  listing.reply();
}

void releasedir(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  delete reinterpret_cast<std::vector<Listed>*>(file->fh);
  fuse_reply_err(request, 0);
}

void statfs(fuse_req_t request, fuse_ino_t) {
  fusefs::reply_statfs(request, kFileSize);
}

fuse_lowlevel_ops operations() {
  fuse_lowlevel_ops ops{};
  ops.lookup = lookup;
  ops.forget = forget;
  ops.forget_multi = forget_multi;
  ops.getattr = getattr;
  ops.readlink = readlink;
  ops.open = open;
  ops.read = read;
  ops.release = release;
  ops.opendir = opendir;
  ops.readdir = readdir;
  ops.releasedir = releasedir;
  ops.statfs = statfs;
  return ops;
}

}  // namespace

ViewServer::ViewServer(const Options& options)
    : tree_({options.engine, options.sysfs, options.procfs, options.udev_data}) {}

Result<std::unique_ptr<ViewServer>> ViewServer::create(Options options) {
  std::unique_ptr<ViewServer> server(new ViewServer(options));
  auto session =
      fusefs::ThreadedSession::create(operations(), server.get(), std::move(options.channels), "loopfs-view");
  if (!session) return propagate(session);
  server->session_ = std::move(*session);
  return server;
}

uint64_t ViewServer::remember(const std::string& path) {
  const std::lock_guard lock(mutex_);
  const auto [place, added] = inodes_.try_emplace(path, next_inode_);
  if (added) known_[next_inode_++] = {path, 0};
  ++known_[place->second].lookups;
  return place->second;
}

void ViewServer::forget(uint64_t inode, uint64_t lookups) {
  const std::lock_guard lock(mutex_);
  const auto found = known_.find(inode);
  if (found == known_.end()) return;
  found->second.lookups -= std::min(lookups, found->second.lookups);
  if (found->second.lookups != 0) return;
  inodes_.erase(found->second.path);
  known_.erase(found);
}

std::string ViewServer::path_of(uint64_t inode) const {
  const std::lock_guard lock(mutex_);
  const auto found = known_.find(inode);
  return found == known_.end() ? std::string() : found->second.path;
}

}  // namespace loopfs::view
