#include "fusefs/instance_server.h"

#include <fcntl.h>
#include <linux/fuse.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <future>

#include "fusefs/caller_syscall.h"
#include "fusefs/node_table.h"
#include "fusefs/remote_caller.h"
#include "fusefs/visit.h"

namespace loopfs::fusefs {
namespace {

using engine::NodeId;
using engine::OpenNode;

constexpr size_t kMostIo = 1 << 20;  // bytes of one read or write; the kernel's own limit for FUSE
constexpr size_t kIoAlignment = 4096;
constexpr unsigned kBackground = 64;  // asynchronous requests under way before the kernel holds the rest back
constexpr double kForever = 1e9;      // seconds
// Spares the GETATTR that follows the LOOKUP of an open; the kernel makes a tick of it.
constexpr double kMoment = 0.001;

InstanceServer& server_of(fuse_req_t request) {
  return *static_cast<InstanceServer*>(fuse_req_userdata(request));
}

// The handle of an open file. One that is not there any more, which only a replaced server can come to see,
// ends the request.
class Handle {
 public:
  Handle(fuse_req_t request, const fuse_file_info* file) {
    if (HandleTable* table = server_of(request).handles()) {
      shared_ = table->find(file->fh);
      node_ = shared_.get();
      if (node_ == nullptr) fuse_reply_err(request, ENXIO);
    } else {
      node_ = reinterpret_cast<OpenNode*>(file->fh);
    }
  }
  explicit operator bool() const { return node_ != nullptr; }
  OpenNode* operator->() const { return node_; }
  OpenNode& operator*() const { return *node_; }

 private:
  std::shared_ptr<OpenNode> shared_;
  OpenNode* node_ = nullptr;
};

template <typename T>
void reply_error(fuse_req_t request, const Result<T>& result) {
  fuse_reply_err(request, result ? 0 : result.error().code);
}

void init(void* userdata, fuse_conn_info* connection) {
  connection->want &= ~static_cast<unsigned>(
      FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_ATOMIC_O_TRUNC |
      FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
  connection->want |=
      connection->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS);
  // A hub reads the requests of all its file systems into one buffer.
  const bool shared = static_cast<InstanceServer*>(userdata)->handles() != nullptr;
  connection->max_write = shared ? Hub::kMostWrite : kMostIo;
  connection->max_readahead = kMostIo;
  connection->max_background = kBackground;
  connection->congestion_threshold = kBackground;
}

// For how long the kernel need not ask for a node's attributes again. Those of loop-control change by chmod and
// chown only, which it knows of; of its device inode it has to ask, since that is when an open can be refused.
double attribute_timeout(const Inode& inode) {
  return inode.node.kind == NodeId::Kind::kControl && inode.flavour == Flavour::kFile ? kForever : 0;
}

void lookup(fuse_req_t request, fuse_ino_t, const char* name) {
  constexpr int kTries = 8;
  const auto node = instance::parse_node_name(name);
  InstanceServer& server = server_of(request);
  for (int tries = 0;; ++tries) {
    const auto known = node ? server.engine().attributes(*node) : std::nullopt;
    if (!known) {
      fuse_reply_err(request, ENOENT);
      return;
    }
    const auto inode = flavour_for(server, *known, fuse_req_ctx(request)->pid);
    if (!inode) {
      // Just unbound, or bound anew: what is it now?
      if (inode.error().code == ESTALE && tries < kTries) continue;
      reply_error(request, inode);
      return;
    }
    fuse_entry_param entry{};
    entry.ino = inode_number(*inode);
    entry.attr = attributes_of(*inode, *known);
    entry.attr_timeout = attribute_timeout(*inode);
    // A file has no say in which device its opener gets; all others are asked for again.
    if (inode->flavour == Flavour::kFile && server.handles() != nullptr) {
      entry.attr_timeout = std::max(entry.attr_timeout, kMoment);
    }
    fuse_reply_entry(request, &entry);
    return;
  }
}

void reply_attributes(fuse_req_t request, fuse_ino_t number) {
  const auto status = attributes_for(server_of(request), number, fuse_req_ctx(request)->pid);
  if (status) {
    const auto inode = inode_of_number(number);
    fuse_reply_attr(request, &*status,
                    inode ? attribute_timeout(*inode) : kForever);  // the root never changes
  } else {
    reply_error(request, status);
  }
}

void getattr(fuse_req_t request, fuse_ino_t number, fuse_file_info*) {
  reply_attributes(request, number);
}

// A new size is accepted and changes nothing: `dd seek=` and O_TRUNC take the node for a regular file. So are
// times.
void setattr(fuse_req_t request, fuse_ino_t number, struct stat* wanted, int which, fuse_file_info*) {
  const auto inode = inode_of_number(number);
  engine::AttributeChange change;
  if ((which & FUSE_SET_ATTR_MODE) != 0) change.mode = wanted->st_mode & 07777;
  if ((which & FUSE_SET_ATTR_UID) != 0) change.uid = wanted->st_uid;
  if ((which & FUSE_SET_ATTR_GID) != 0) change.gid = wanted->st_gid;
  if (change.mode || change.uid || change.gid) {
    if (!inode) {
      fuse_reply_err(request, EPERM);
      return;
    }
    if (auto changed = server_of(request).engine().change_attributes(inode->node, change); !changed) {
      reply_error(request, changed);
      return;
    }
    if (inode->node.kind == NodeId::Kind::kControl && inode->flavour != Flavour::kFile) {
      server_of(request).forget_attributes({inode->node, Flavour::kFile});
    }
  }
  reply_attributes(request, number);
}

void unlink(fuse_req_t request, fuse_ino_t, const char* name) {
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

void refuse_mknod(fuse_req_t request, fuse_ino_t, const char*, mode_t, dev_t) {
  fuse_reply_err(request, EPERM);
}
void refuse_mkdir(fuse_req_t request, fuse_ino_t, const char*, mode_t) {
  fuse_reply_err(request, EPERM);
}
void refuse_symlink(fuse_req_t request, const char*, fuse_ino_t, const char*) {
  fuse_reply_err(request, EPERM);
}
void refuse_link(fuse_req_t request, fuse_ino_t, fuse_ino_t, const char*) {
  fuse_reply_err(request, EPERM);
}
void refuse_rename(fuse_req_t request, fuse_ino_t, const char*, fuse_ino_t, const char*, unsigned) {
  fuse_reply_err(request, EPERM);
}
void refuse_create(fuse_req_t request, fuse_ino_t, const char*, mode_t, fuse_file_info*) {
  fuse_reply_err(request, EPERM);
}

// Nothing is cached: what the file shows changes when the device is bound.
void open_shared(fuse_req_t request, HandleTable& table, const NodeId& node,
                 const engine::OpenOptions& options) {
  const auto number = table.open(node, options);
  if (!number) {
    reply_error(request, number);
    return;
  }
  fuse_open_out answer{};
  answer.fh = *number;
  answer.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
  if (node.kind == NodeId::Kind::kControl) answer.open_flags |= FOPEN_NOFLUSH;  // nothing is kept of it
  if (fuse_reply_buf(request, reinterpret_cast<const char*>(&answer), sizeof answer) != 0)
    table.close(*number);
}

void open(fuse_req_t request, fuse_ino_t number, fuse_file_info* file) {
  const auto inode = inode_of_number(number);
  if (!inode) {
    fuse_reply_err(request, EISDIR);
    return;
  }
  const int mode = file->flags & O_ACCMODE;
  engine::OpenOptions options;
  options.read = mode == O_RDONLY || mode == O_RDWR;
  options.write = mode == O_WRONLY || mode == O_RDWR;
  options.direct = (file->flags & O_DIRECT) != 0;
  // The kernel has taken O_EXCL out of the flags: to a file system it means creation only.
  if (inode->node.kind != NodeId::Kind::kControl) {
    options.exclusive = intent_of(fuse_req_ctx(request)->pid).exclusive;
  }
  if (HandleTable* table = server_of(request).handles()) {
    open_shared(request, *table, inode->node, options);
    return;
  }
  auto node = server_of(request).engine().open(inode->node, options);
  if (!node) {
    reply_error(request, node);
    return;
  }
  // By hand: libfuse 3.14 cannot set FOPEN_PARALLEL_DIRECT_WRITES.
  fuse_open_out answer{};
  answer.fh = reinterpret_cast<uint64_t>(node->get());
  if (options.direct) answer.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
  InstanceServer& server = server_of(request);
  server.count_open(1);  // the close may come before we are back from the reply
  if (fuse_reply_buf(request, reinterpret_cast<const char*>(&answer), sizeof answer) == 0) {
    (void)node->release();
  } else {
    server.count_open(-1);
  }
}

void release(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  InstanceServer& server = server_of(request);
  if (HandleTable* table = server.handles()) {
    table->close(file->fh);
  } else {
    delete reinterpret_cast<OpenNode*>(file->fh);
    server.count_open(-1);
  }
  fuse_reply_err(request, 0);
}

void flush(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  const Handle handle(request, file);
  if (!handle) return;
  handle->descriptor_closing();
  server_of(request).engine().passed(fuse_req_ctx(request)->pid);
  fuse_reply_err(request, 0);
}

// Aligned, because a device in direct I/O mode wants it so.
std::span<std::byte> io_buffer() {
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  static thread_local const std::unique_ptr<std::byte, Free> memory(
      static_cast<std::byte*>(std::aligned_alloc(kIoAlignment, kMostIo)));
  return {memory.get(), kMostIo};
}

void read(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* file) {
  const Handle handle(request, file);
  if (!handle) return;
  const auto buffer = io_buffer().first(std::min(size, kMostIo));
  const auto got = handle->read(static_cast<uint64_t>(offset), buffer);
  if (got) {
    fuse_reply_buf(request, reinterpret_cast<const char*>(buffer.data()), *got);
  } else {
    reply_error(request, got);
  }
}

void write(fuse_req_t request, fuse_ino_t, const char* bytes, size_t size, off_t offset,
           fuse_file_info* file) {
  const Handle handle(request, file);
  if (!handle) return;
  const auto put = handle->write(static_cast<uint64_t>(offset), std::as_bytes(std::span(bytes, size)));
  if (put) {
    fuse_reply_write(request, *put);
  } else {
    reply_error(request, put);
  }
}

void fsync(fuse_req_t request, fuse_ino_t, int data_only, fuse_file_info* file) {
  const Handle handle(request, file);
  if (handle) reply_error(request, handle->sync(data_only != 0));
}

// Answers when the pages that the call has made stale are gone: the caller's next read must not find them. No
// server thread waits for that, because dropping them may need one. Whichever thread told of a change, it is
// in the invalidator's queue by now.
template <typename Answer>
void after_drop(fuse_req_t request, const OpenNode& node, Answer answer) {
  Invalidator* invalidator = server_of(request).invalidator();
  const NodeId id = node.id();
  if (invalidator == nullptr || id.kind == NodeId::Kind::kControl || !invalidator->pending(id.device)) {
    answer();
    return;
  }
  invalidator->then([answer = std::move(answer), channel = Session::current_channel()] {
    const Session::ReplyChannel back(channel);
    answer();
  });
}

void fallocate(fuse_req_t request, fuse_ino_t, int mode, off_t offset, off_t length, fuse_file_info* file) {
  const Handle handle(request, file);
  if (!handle) return;
  const auto done = handle->allocate(mode, static_cast<uint64_t>(offset), static_cast<uint64_t>(length));
  after_drop(request, *handle, [request, done] { reply_error(request, done); });
}

// SEEK_DATA and SEEK_HOLE; the others never get here. A block device has neither.
void lseek(fuse_req_t request, fuse_ino_t, off_t, int, fuse_file_info*) {
  fuse_reply_err(request, EINVAL);
}

void reply_ioctl(fuse_req_t request, const Result<int>& result, const std::vector<std::byte>& output) {
  // An errno goes into the answer's result: as the request's own error, ENOSYS would turn ioctls off for
  // good.
  fuse_reply_ioctl(request, result ? *result : -result.error().code, output.empty() ? nullptr : output.data(),
                   output.size());
}

void ioctl(fuse_req_t request, fuse_ino_t, unsigned command, void* argument, fuse_file_info* file,
           unsigned flags, const void* input, size_t input_size, size_t) {
  if ((flags & FUSE_IOCTL_DIR) != 0) {
    fuse_reply_err(request, ENOTTY);
    return;
  }
  InstanceServer& server = server_of(request);
  const auto caller = server.caller(fuse_req_ctx(request)->pid);
  engine::IoctlRequest call;
  call.command = command;
  call.argument = reinterpret_cast<uint64_t>(argument);
  call.compat = (flags & FUSE_IOCTL_COMPAT) != 0;
  call.input = {static_cast<const std::byte*>(input), input_size};
  call.resent = Session::current_is_resent();
  const Handle handle(request, file);
  if (!handle) return;
  auto result = handle->ioctl(call, *caller);
  after_drop(request, *handle, [request, result = std::move(result), output = std::move(call.output)] {
    reply_ioctl(request, result, output);
  });
}

void opendir(fuse_req_t request, fuse_ino_t number, fuse_file_info* file) {
  if (number != kRootInode) {
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

void readdir(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info*) {
  const struct stat root = root_attributes(server_of(request));
  std::vector<char> buffer(std::min(size, kMostIo));
  size_t used = 0;
  const auto add = [&](const std::string& name, const struct stat& status, off_t place) {
    if (place <= offset) return true;
    const size_t left = buffer.size() - used;
    const size_t length =
        fuse_add_direntry(request, buffer.data() + used, left, name.c_str(), &status, place);
    if (length > left) return false;
    used += length;
    return true;
  };
  if (add(".", root, 1) && add("..", root, 2)) {
    auto nodes = server_of(request).engine().nodes();
    std::ranges::sort(nodes, {}, place_of);
    for (const NodeId& node : nodes) {
      if (!add(node.name(), attributes_of({node, Flavour::kDevice}, {.id = node}), place_of(node))) break;
    }
  }
  fuse_reply_buf(request, buffer.data(), used);
}

void statfs(fuse_req_t request, fuse_ino_t) {
  struct statvfs status {};
  status.f_bsize = kBlock;
  status.f_frsize = kBlock;
  status.f_namemax = 255;
  fuse_reply_statfs(request, &status);
}

fuse_lowlevel_ops operations() {
  fuse_lowlevel_ops ops{};
  ops.init = init;
  ops.lookup = lookup;
  ops.getattr = getattr;
  ops.setattr = setattr;
  ops.unlink = unlink;
  ops.mknod = refuse_mknod;
  ops.mkdir = refuse_mkdir;
  ops.symlink = refuse_symlink;
  ops.link = refuse_link;
  ops.rename = refuse_rename;
  ops.create = refuse_create;
  ops.open = open;
  ops.release = release;
  ops.flush = flush;
  ops.read = read;
  ops.write = write;
  ops.fsync = fsync;
  ops.fallocate = fallocate;
  ops.lseek = lseek;
  ops.ioctl = ioctl;
  ops.opendir = opendir;
  ops.readdir = readdir;
  ops.statfs = statfs;
  return ops;
}

}  // namespace

Result<std::unique_ptr<InstanceServer>> InstanceServer::create(Options options) {
  std::unique_ptr<InstanceServer> server(
      new InstanceServer(options.engine, options.user_namespace, options.device));
  auto session = Session::create(operations(), server.get(), std::move(options.channels), "loopfs-fuse");
  if (!session) return propagate(session);
  server->session_ = std::move(*session);
  server->invalidator_ = std::make_unique<Invalidator>(server->session_.get());
  return server;
}

Result<std::unique_ptr<InstanceServer>> InstanceServer::create_shared(SharedOptions options) {
  std::unique_ptr<InstanceServer> server(
      new InstanceServer(options.engine, options.user_namespace, options.device));
  server->root_uid_ = options.root_uid;
  server->root_gid_ = options.root_gid;
  server->caller_ = std::move(options.caller);
  server->handles_ = std::make_unique<HandleTable>(options.engine, options.serials_from);
  auto session = Session::create_shared(operations(), server.get(), std::move(options.channel),
                                        std::move(options.session));
  if (!session) return propagate(session);
  server->session_ = std::move(*session);
  return server;
}

Result<void> InstanceServer::start() {
  auto started = session_->start();
  if (started && invalidator_) invalidator_->start();
  return started;
}

void InstanceServer::count_open(int change) {
  if ((open_files_ += change) == 0) session_->changed();
}

void InstanceServer::wait_until_closed(std::chrono::milliseconds patience) {
  session_->wait_until([this] { return open_files_ == 0; }, patience);
}

void InstanceServer::stop() {
  if (invalidator_) invalidator_->stop();  // may still need the session's threads
  if (session_) session_->stop();
}

void InstanceServer::invalidate(engine::NodeId node) {
  if (!invalidator_) return;
  invalidator_->drop(node);
  auto done = std::make_shared<std::promise<void>>();
  invalidator_->then([done] { done->set_value(); });
  done->get_future().wait();
}

void InstanceServer::forget_attributes(const Inode& inode) {
  // An offset below 0: not the pages. ENOENT: the kernel has no such inode.
  (void)fuse_lowlevel_notify_inval_inode(session_->raw(), inode_number(inode), -1, 0);
}

void InstanceServer::contents_changed(engine::NodeId node) {
  if (invalidator_) invalidator_->drop(node);
}

}  // namespace loopfs::fusefs
