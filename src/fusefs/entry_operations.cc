#include "fusefs/entry_operations.h"

#include <linux/fs.h>
#include <linux/fuse.h>

#include <algorithm>

#include "fusefs/operations.h"
#include "fusefs/visit.h"
#include "instance/node.h"

namespace loopfs::fusefs {
namespace {

class EmptyFile final : public engine::OpenNode {
 public:
  engine::NodeId id() const override { return engine::NodeId::control(); }
  Result<size_t> read(uint64_t, std::span<std::byte>) override { return 0; }
  Result<size_t> write(uint64_t, std::span<const std::byte>) override {
    return fail(ENOSPC, "write to a file of /dev");
  }
  Result<void> sync(bool) override { return {}; }
  Result<void> allocate(int, uint64_t, uint64_t) override { return fail(ENOSPC, "allocate in /dev"); }
  Result<int> ioctl(engine::IoctlRequest&, const engine::Caller&) override { return fail(ENOTTY, "ioctl"); }
  void descriptor_closing() override {}
};

bool names_a_node(uint64_t parent, std::string_view name) {
  return parent == kRootInode && instance::parse_node_name(name).has_value();
}

// The entries in which `name` may be changed. Null: the request is answered.
Entries* entries_for(fuse_req_t request, uint64_t parent, std::string_view name) {
  Entries* entries = server_of(request).entries();
  if (entries != nullptr && !names_a_node(parent, name)) return entries;
  fuse_reply_err(request, EPERM);
  return nullptr;
}

fuse_entry_param parameters_of(const Entry& entry) {
  fuse_entry_param parameters{};
  parameters.ino = entry.number;
  parameters.attr = attributes_of(entry);
  parameters.attr_timeout = parameters.entry_timeout = kForever;
  return parameters;
}

// As asked for. By the server that was killed: the kernel would not ask if it had been there.
Result<Entry> make_entry(Entries& entries, const Entry& wanted) {
  auto made = entries.make(wanted);
  if (made || made.error().code != EEXIST || !Session::current_is_resent()) return made;
  const auto there = entries.find(wanted.parent, wanted.name);
  return there ? Result<Entry>(*there) : made;
}

Entry entry_of(fuse_req_t request, uint64_t parent, const char* name, mode_t mode) {
  const fuse_ctx* caller = fuse_req_ctx(request);
  return {.parent = parent, .name = name, .mode = mode, .uid = caller->uid, .gid = caller->gid};
}

void make(fuse_req_t request, const Entry& wanted) {
  Entries* entries = entries_for(request, wanted.parent, wanted.name);
  if (entries == nullptr) return;
  const auto made = make_entry(*entries, wanted);
  if (!made) {
    reply_error(request, made);
    return;
  }
  const fuse_entry_param parameters = parameters_of(*made);
  fuse_reply_entry(request, &parameters);
}

void mknod(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t) {
  make(request, entry_of(request, parent, name, mode));
}

void mkdir(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
  make(request, entry_of(request, parent, name, S_IFDIR | (mode & 07777)));
}

void symlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) {
  Entry wanted = entry_of(request, parent, name, S_IFLNK | 0777);
  wanted.target = target;
  make(request, wanted);
}

void create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* file) {
  Entries* entries = entries_for(request, parent, name);
  if (entries == nullptr) return;
  const auto made = make_entry(*entries, entry_of(request, parent, name, S_IFREG | (mode & 07777)));
  if (!made) {
    reply_error(request, made);
    return;
  }
  const fuse_entry_param parameters = parameters_of(*made);
  file->fh = kEntryHandle;
  file->direct_io = 1;
  fuse_reply_create(request, &parameters, file);
}

void refuse_link(fuse_req_t request, fuse_ino_t, fuse_ino_t, const char*) {
  fuse_reply_err(request, EPERM);
}

void readlink(fuse_req_t request, fuse_ino_t number) {
  if (const auto entry = entry_of(server_of(request), number)) {
    fuse_reply_readlink(request, entry->target.c_str());
  } else {
    fuse_reply_err(request, EINVAL);
  }
}

void remove(fuse_req_t request, uint64_t parent, const char* name, bool directory) {
  Entries* entries = entries_for(request, parent, name);
  if (entries == nullptr) return;
  auto removed = entries->remove(parent, name, directory);
  if (!removed && removed.error().code == ENOENT && Session::current_is_resent()) removed = {};
  reply_error(request, removed);
}

void rmdir(fuse_req_t request, fuse_ino_t parent, const char* name) {
  remove(request, parent, name, true);
}

void rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned flags) {
  Entries* entries = entries_for(request, parent, name);
  if (entries == nullptr) return;
  if (names_a_node(new_parent, new_name)) {
    fuse_reply_err(request, EPERM);
    return;
  }
  if ((flags & ~static_cast<unsigned>(RENAME_NOREPLACE)) != 0) {
    fuse_reply_err(request, EINVAL);
    return;
  }
  auto renamed = entries->rename(parent, name, new_parent, new_name, (flags & RENAME_NOREPLACE) == 0);
  const bool done_before = !renamed && renamed.error().code == ENOENT && Session::current_is_resent() &&
                           entries->find(new_parent, new_name);
  if (done_before) renamed = {};
  reply_error(request, renamed);
}

}  // namespace

engine::OpenNode& empty_file() {
  static EmptyFile file;
  return file;
}

bool lookup_entry(fuse_req_t request, uint64_t parent, const char* name) {
  Entries* entries = server_of(request).entries();
  if (entries == nullptr || names_a_node(parent, name)) return false;
  const auto entry = entries->find(parent, name);
  if (!entry) {
    fuse_reply_err(request, ENOENT);
    return true;
  }
  const fuse_entry_param parameters = parameters_of(*entry);
  fuse_reply_entry(request, &parameters);
  return true;
}

bool open_entry(fuse_req_t request, uint64_t number) {
  if (!Entries::is_entry(number)) return false;
  reply_open(request, kEntryHandle, FOPEN_DIRECT_IO);
  return true;
}

bool unlink_entry(fuse_req_t request, uint64_t parent, const char* name) {
  if (server_of(request).entries() == nullptr || names_a_node(parent, name)) return false;
  remove(request, parent, name, false);
  return true;
}

void add_entry_operations(fuse_lowlevel_ops& operations) {
  operations.mknod = mknod;
  operations.mkdir = mkdir;
  operations.symlink = symlink;
  operations.create = create;
  operations.link = refuse_link;
  operations.readlink = readlink;
  operations.rmdir = rmdir;
  operations.rename = rename;
}

}  // namespace loopfs::fusefs
