#include "fusefs/operations.h"

#include <fcntl.h>
#include <linux/fuse.h>

#include <algorithm>

#include "fusefs/caller_syscall.h"
#include "fusefs/entry_operations.h"
#include "fusefs/listing.h"
#include "fusefs/visit.h"

namespace loopfs::fusefs {
namespace {

using engine::NodeId;

constexpr size_t kAlignment = 4096;
constexpr unsigned kBackground = 64;  // asynchronous requests under way before the kernel holds the rest back

void unlink(fuse_req_t request, fuse_ino_t parent, const char* name) {
  if (unlink_entry(request, parent, name)) return;
  const auto node = instance::parse_node_name(name);
  if (!node) {
    fuse_reply_err(request, ENOENT);
    return;
  }
  auto removed = server_of(request).engine().unlink(*node);
  // By the server that was killed: the kernel would not ask if it had not been there.
  if (!removed && removed.error().code == ENODEV && Session::current_is_resent()) removed = {};
  reply_error(request, removed);
}

// SEEK_DATA and SEEK_HOLE; the others never get here. A block device has neither.
void lseek(fuse_req_t request, fuse_ino_t, off_t, int, fuse_file_info*) {
  fuse_reply_err(request, EINVAL);
}

void opendir(fuse_req_t request, fuse_ino_t number, fuse_file_info* file) {
  const auto directory = attributes_beside_nodes(server_of(request), number);
  if (!directory || !S_ISDIR(directory->st_mode)) {
    fuse_reply_err(request, ENOTDIR);
    return;
  }
  // Nothing is kept of an open directory, which another server may have to go on with.
  fuse_reply_open(request, file);
}

// Where a node stands in the directory, whatever else is in it. "." and ".." stand at 1 and 2.
off_t place_of(const NodeId& node) {
  if (node.kind == NodeId::Kind::kControl) return 3;
  return 4 + off_t{node.device} * (instance::kMostPartitions + 1) + node.partition;
}

// False: the answer is full.
bool list_nodes(fuse_req_t request, Listing& listing) {
  auto nodes = server_of(request).engine().nodes();
  std::ranges::sort(nodes, {}, place_of);
  return std::ranges::all_of(nodes, [&](const NodeId& node) {
    return listing.add(node.name(), attributes_of({node, Flavour::kDevice}, {.id = node}), place_of(node));
  });
}

void list_entries(fuse_req_t request, uint64_t directory, Listing& listing) {
  Entries* entries = server_of(request).entries();
  if (entries == nullptr) return;
  for (const Entry& entry : entries->list(directory)) {
    if (directory == kRootInode && entry.name == instance::kHiddenName) continue;
    // Its number is its place: far behind those of the nodes.
    if (!listing.add(entry.name, attributes_of(entry), static_cast<off_t>(entry.number))) return;
  }
}

void readdir(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, fuse_file_info*) {
  const auto directory = attributes_beside_nodes(server_of(request), number);
  if (!directory) {
    reply_error(request, directory);
    return;
  }
  Listing listing(request, size, offset);
  const bool goes_on = listing.add(".", *directory, 1) && listing.add("..", *directory, 2) &&
                       (number != kRootInode || list_nodes(request, listing));
  if (goes_on) list_entries(request, number, listing);
  listing.reply();
}

void statfs(fuse_req_t request, fuse_ino_t) {
  reply_statfs(request, kBlock);
}

}  // namespace

std::unique_ptr<engine::Caller> caller_of(fuse_req_t request) {
  return server_of(request).caller(fuse_req_ctx(request)->pid);
}

InstanceServer& server_of(fuse_req_t request) {
  return *static_cast<InstanceServer*>(fuse_req_userdata(request));
}

fuse_lowlevel_ops common_operations() {
  fuse_lowlevel_ops ops{};
  ops.unlink = unlink;
  add_entry_operations(ops);
  ops.lseek = lseek;
  ops.opendir = opendir;
  ops.readdir = readdir;
  ops.statfs = statfs;
  return ops;
}

void limit_connection(fuse_conn_info* connection, size_t most_write) {
  connection->want &= ~static_cast<unsigned>(
      FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_ATOMIC_O_TRUNC |
      FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
  connection->want |=
      connection->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS);
  connection->max_write = static_cast<unsigned>(most_write);
  connection->max_readahead = kMostIo;
  connection->max_background = kBackground;
  connection->congestion_threshold = kBackground;
}

std::optional<engine::NodeAttributes> find_node(fuse_req_t request, const char* name) {
  const auto node = instance::parse_node_name(name);
  auto known = node ? server_of(request).engine().attributes(*node) : std::nullopt;
  if (!known) fuse_reply_err(request, ENOENT);
  return known;
}

void reply_entry(fuse_req_t request, const Inode& inode, const engine::NodeAttributes& node,
                 double attribute_timeout) {
  fuse_entry_param entry{};
  entry.ino = inode_number(inode);
  entry.attr = attributes_of(inode, node);
  entry.attr_timeout = attribute_timeout;
  fuse_reply_entry(request, &entry);
}

double attribute_timeout(const Inode& inode) {
  return inode.node.kind == NodeId::Kind::kControl && inode.flavour == Flavour::kFile ? kForever : 0;
}

void reply_attributes(fuse_req_t request, uint64_t number, const Result<struct stat>& status) {
  if (!status) {
    reply_error(request, status);
    return;
  }
  const auto inode = inode_of_number(number);
  fuse_reply_attr(request, &*status, inode ? attribute_timeout(*inode) : kForever);  // the root never changes
}

namespace {

bool change_entry(fuse_req_t request, uint64_t number, const engine::AttributeChange& owner,
                  const struct stat& wanted, int which) {
  Entries::Change change{.mode = owner.mode, .uid = owner.uid, .gid = owner.gid};
  if ((which & FUSE_SET_ATTR_MTIME) != 0) change.modified = wanted.st_mtim;
  Entries* entries = server_of(request).entries();
  const auto changed =
      entries != nullptr ? entries->change(number, change) : fail(ESTALE, "inode {}", number);
  if (!changed) reply_error(request, changed);
  return changed.has_value();
}

}  // namespace

bool change_attributes(fuse_req_t request, const Session& session, uint64_t number, const struct stat& wanted,
                       int which) {
  engine::AttributeChange change;
  if ((which & FUSE_SET_ATTR_MODE) != 0) change.mode = wanted.st_mode & 07777;
  if ((which & FUSE_SET_ATTR_UID) != 0) change.uid = wanted.st_uid;
  if ((which & FUSE_SET_ATTR_GID) != 0) change.gid = wanted.st_gid;
  if (Entries::is_entry(number)) return change_entry(request, number, change, wanted, which);
  if (!change.mode && !change.uid && !change.gid) return true;
  const auto inode = inode_of_number(number);
  if (!inode) {
    fuse_reply_err(request, EPERM);
    return false;
  }
  if (auto changed = server_of(request).engine().change_attributes(inode->node, change); !changed) {
    reply_error(request, changed);
    return false;
  }
  if (inode->node.kind == NodeId::Kind::kControl && inode->flavour != Flavour::kFile) {
    // Here the kernel has to ask for them again. An offset below 0: not the pages. ENOENT: it has no such inode.
    (void)fuse_lowlevel_notify_inval_inode(session.raw(), inode_number({inode->node, Flavour::kFile}), -1, 0);
  }
  return true;
}

std::optional<Opening> opening_of(fuse_req_t request, uint64_t number, const fuse_file_info& file) {
  const auto inode = inode_of_number(number);
  if (!inode) {
    fuse_reply_err(request, EISDIR);
    return std::nullopt;
  }
  const int mode = file.flags & O_ACCMODE;
  Opening opening{.node = inode->node, .options = {}};
  opening.options.read = mode == O_RDONLY || mode == O_RDWR;
  opening.options.write = mode == O_WRONLY || mode == O_RDWR;
  opening.options.direct = (file.flags & O_DIRECT) != 0;
  // The kernel has taken O_EXCL out of the flags: to a file system it means creation only.
  if (inode->node.kind != NodeId::Kind::kControl) {
    opening.intent = intent_of(*caller_of(request));
    opening.options.exclusive = opening.intent->exclusive;
  }
  return opening;
}

bool reply_open(fuse_req_t request, uint64_t handle, unsigned flags) {
  fuse_open_out answer{};
  answer.fh = handle;
  answer.open_flags = flags;
  return fuse_reply_buf(request, reinterpret_cast<const char*>(&answer), sizeof answer) == 0;
}

AlignedBytes aligned_bytes(size_t size) {
  const size_t whole = (size + kAlignment - 1) / kAlignment * kAlignment;
  return AlignedBytes(static_cast<std::byte*>(std::aligned_alloc(kAlignment, whole)));
}

void read_node(fuse_req_t request, engine::OpenNode& node, off_t offset, std::span<std::byte> buffer) {
  const auto got = node.read(static_cast<uint64_t>(offset), buffer);
  if (got) {
    fuse_reply_buf(request, reinterpret_cast<const char*>(buffer.data()), *got);
  } else {
    reply_error(request, got);
  }
}

void write_node(fuse_req_t request, engine::OpenNode& node, off_t offset, std::span<const std::byte> bytes) {
  const auto put = node.write(static_cast<uint64_t>(offset), bytes);
  if (put) {
    fuse_reply_write(request, *put);
  } else {
    reply_error(request, put);
  }
}

std::optional<engine::IoctlRequest> ioctl_request(fuse_req_t request, const IoctlArguments& arguments) {
  if ((arguments.flags & FUSE_IOCTL_DIR) != 0) {
    fuse_reply_err(request, ENOTTY);
    return std::nullopt;
  }
  engine::IoctlRequest call;
  call.command = arguments.command;
  call.argument = reinterpret_cast<uint64_t>(arguments.argument);
  call.compat = (arguments.flags & FUSE_IOCTL_COMPAT) != 0;
  call.input = arguments.input;
  call.resent = Session::current_is_resent();
  return call;
}

void reply_ioctl(fuse_req_t request, const Result<int>& result, const std::vector<std::byte>& output) {
  // An errno goes into the answer's result: as the request's own error, ENOSYS would turn ioctls off for
  // good.
  fuse_reply_ioctl(request, result ? *result : -result.error().code, output.empty() ? nullptr : output.data(),
                   output.size());
}

}  // namespace loopfs::fusefs
