#include "fusefs/sandbox_server.h"

#include <linux/fuse.h>

#include <algorithm>
#include <future>

#include "fusefs/caller_syscall.h"
#include "fusefs/entry_operations.h"
#include "fusefs/operations.h"
#include "fusefs/visit.h"

namespace loopfs::fusefs {
namespace {

using engine::NodeId;
using engine::OpenNode;

SandboxServer& sandbox_of(fuse_req_t request) {
  return static_cast<SandboxServer&>(server_of(request));
}

// The kernel gives the handle back that it was given, and sends RELEASE last.
OpenNode& node_of(const fuse_file_info* file) {
  if (file->fh == kEntryHandle) return empty_file();
  return *reinterpret_cast<OpenNode*>(file->fh);
}

void init(void*, fuse_conn_info* connection) {
  limit_connection(connection, kMostIo);
}

// That of the caller's open(2), at its end.
bool move_descriptor(fuse_req_t request) {
  DescriptorMover* mover = sandbox_of(request).mover();
  return mover != nullptr && mover->move(fuse_req_ctx(request)->pid);
}

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  if (lookup_entry(request, parent, name)) return;
  const auto known = find_node(request, name);
  if (!known) return;
  const pid_t caller = fuse_req_ctx(request)->pid;
  const Intent intent = caller != 0 ? intent_of(*caller_of(request)) : Intent{};
  // A descriptor of the path alone may be opened by its number later, which only a file can be.
  const bool opens = intent.opens || (intent.opens_path && move_descriptor(request));
  const Inode inode{known->id, opens ? Flavour::kFile : Flavour::kDevice};
  reply_entry(request, inode, *known, attribute_timeout(inode));
}

Result<struct stat> attributes_for(InstanceServer& server, uint64_t number) {
  if (number == kRootInode || Entries::is_entry(number)) return attributes_beside_nodes(server, number);
  const auto inode = inode_of_number(number);
  const auto known = inode ? server.engine().attributes(inode->node) : std::nullopt;
  if (!known) return fail(ENOENT, "inode {}", number);
  if (inode->flavour == Flavour::kKernel) return fail(ESTALE, "inode {}", number);
  return attributes_of(*inode, *known);
}

void getattr(fuse_req_t request, fuse_ino_t number, fuse_file_info*) {
  reply_attributes(request, number, attributes_for(server_of(request), number));
}

void setattr(fuse_req_t request, fuse_ino_t number, struct stat* wanted, int which, fuse_file_info* file) {
  if (change_attributes(request, sandbox_of(request).session(), number, *wanted, which))
    getattr(request, number, file);
}

void open(fuse_req_t request, fuse_ino_t number, fuse_file_info* file) {
  if (open_entry(request, number)) return;
  const auto opening = opening_of(request, number, *file);
  if (!opening) return;
  SandboxServer& server = sandbox_of(request);
  auto node = server.engine().open(opening->node, opening->options);
  if (!node) {
    reply_error(request, node);
    return;
  }
  const Intent intent = opening->intent ? *opening->intent : intent_of(*caller_of(request));
  if (is_open_call(intent)) move_descriptor(request);
  server.count_open(1);  // the close may come before we are back from the reply
  const unsigned flags = opening->options.direct ? FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES : 0;
  if (reply_open(request, reinterpret_cast<uint64_t>(node->get()), flags)) {
    (void)node->release();
  } else {
    server.count_open(-1);
  }
}

void release(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  if (file->fh != kEntryHandle) {
    delete &node_of(file);
    sandbox_of(request).count_open(-1);
  }
  fuse_reply_err(request, 0);
}

void flush(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  DescriptorMover* mover = sandbox_of(request).mover();
  const bool moved = mover != nullptr && mover->is_moving(fuse_req_ctx(request)->pid);
  if (!moved) node_of(file).descriptor_closing();
  fuse_reply_err(request, 0);
}

void read(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* file) {
  // One for each of the session's threads, which are few.
  static thread_local const AlignedBytes buffer = aligned_bytes(kMostIo);
  read_node(request, node_of(file), offset, {buffer.get(), std::min(size, kMostIo)});
}

void write(fuse_req_t request, fuse_ino_t, const char* bytes, size_t size, off_t offset,
           fuse_file_info* file) {
  write_node(request, node_of(file), offset, std::as_bytes(std::span(bytes, size)));
}

void fsync(fuse_req_t request, fuse_ino_t, int data_only, fuse_file_info* file) {
  reply_error(request, node_of(file).sync(data_only != 0));
}

// Answers when the pages that the call has made stale are gone: the caller's next read must not find them. No
// server thread waits for that, because dropping them may need one. Whichever thread told of a change, it is
// in the invalidator's queue by now.
template <typename Answer>
void after_drop(fuse_req_t request, const NodeId& node, Answer answer) {
  Invalidator& invalidator = sandbox_of(request).invalidator();
  if (node.kind == NodeId::Kind::kControl || !invalidator.pending(node.device)) {
    answer();
    return;
  }
  invalidator.then([answer = std::move(answer), channel = Session::current_channel()] {
    const Session::ReplyChannel back(channel);
    answer();
  });
}

void fallocate(fuse_req_t request, fuse_ino_t, int mode, off_t offset, off_t length, fuse_file_info* file) {
  OpenNode& node = node_of(file);
  const auto done = node.allocate(mode, static_cast<uint64_t>(offset), static_cast<uint64_t>(length));
  after_drop(request, node.id(), [request, done] { reply_error(request, done); });
}

void ioctl(fuse_req_t request, fuse_ino_t, unsigned command, void* argument, fuse_file_info* file,
           unsigned flags, const void* input, size_t input_size, size_t) {
  auto call =
      ioctl_request(request, {command, argument, flags, {static_cast<const std::byte*>(input), input_size}});
  if (!call) return;
  OpenNode& node = node_of(file);
  auto result = node.ioctl(*call, *caller_of(request));
  after_drop(request, node.id(), [request, result = std::move(result), output = std::move(call->output)] {
    reply_ioctl(request, result, output);
  });
}

fuse_lowlevel_ops operations() {
  fuse_lowlevel_ops ops = common_operations();
  ops.init = init;
  ops.lookup = lookup;
  ops.getattr = getattr;
  ops.setattr = setattr;
  ops.open = open;
  ops.release = release;
  ops.flush = flush;
  ops.read = read;
  ops.write = write;
  ops.fsync = fsync;
  ops.fallocate = fallocate;
  ops.ioctl = ioctl;
  return ops;
}

}  // namespace

Result<std::unique_ptr<SandboxServer>> SandboxServer::create(Options options) {
  std::unique_ptr<SandboxServer> server(new SandboxServer({.engine = options.engine,
                                                           .user_namespace = options.user_namespace,
                                                           .device = options.device,
                                                           .entries = std::make_unique<Entries>()},
                                                          options.mover));
  auto session = ThreadedSession::create(operations(), static_cast<InstanceServer*>(server.get()),
                                         std::move(options.channels), "loopfs-fuse");
  if (!session) return propagate(session);
  server->session_ = std::move(*session);
  server->invalidator_ = std::make_unique<Invalidator>(server->session_.get());
  return server;
}

void SandboxServer::start() {
  session_->start();
  invalidator_->start();
}

void SandboxServer::count_open(int change) {
  if ((open_files_ += change) == 0) session_->changed();
}

void SandboxServer::wait_until_closed(std::chrono::milliseconds patience) {
  session_->wait_until([this] { return open_files_ == 0; }, patience);
}

void SandboxServer::stop() {
  if (invalidator_) invalidator_->stop();  // may still need the session's threads
  if (session_) session_->stop();
}

void SandboxServer::invalidate(engine::NodeId node) {
  invalidator_->drop(node);
  auto done = std::make_shared<std::promise<void>>();
  invalidator_->then([done] { done->set_value(); });
  done->get_future().wait();
}

void SandboxServer::contents_changed(engine::NodeId node) {
  invalidator_->drop(node);
}

}  // namespace loopfs::fusefs
