#include "fusefs/shared_server.h"

#include <linux/fuse.h>

#include <algorithm>

#include "fusefs/entry_operations.h"
#include "fusefs/hub.h"
#include "fusefs/operations.h"
#include "fusefs/shared_visit.h"

namespace loopfs::fusefs {
namespace {

using engine::NodeId;
using engine::OpenNode;

// Spares the GETATTR that follows the LOOKUP of an open; the kernel makes a tick of it.
constexpr double kMoment = 0.001;
// Bytes of one READ: as much as a WRITE, or 32 pages for a kernel that was told nothing of pages.
constexpr size_t kMostRead = 128 << 10;

SharedServer& shared_of(fuse_req_t request) {
  return static_cast<SharedServer&>(server_of(request));
}

// Null: the handle is not there any more, which only a replaced server can come to see, and the request is answered.
std::shared_ptr<OpenNode> node_of(fuse_req_t request, const fuse_file_info* file) {
  // Not owned: it is there for good.
  if (file->fh == kEntryHandle) return {std::shared_ptr<void>(), &empty_file()};
  auto node = shared_of(request).handles().find(file->fh);
  if (!node) fuse_reply_err(request, ENXIO);
  return node;
}

void init(void*, fuse_conn_info* connection) {
  limit_connection(connection, Hub::kMostWrite);  // the hub reads the requests of all into one buffer
}

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  if (lookup_entry(request, parent, name)) return;
  constexpr int kTries = 8;
  const auto caller = caller_of(request);
  for (int tries = 0;; ++tries) {
    const auto known = find_node(request, name);
    if (!known) return;
    const auto inode = inode_for(server_of(request).engine(), *known, *caller);
    if (!inode) {
      // Just unbound, or bound anew: what is it now?
      if (inode.error().code == ESTALE && tries < kTries) continue;
      reply_error(request, inode);
      return;
    }
    // A file has no say in which device its opener gets; all others are asked for again.
    const double least = inode->flavour == Flavour::kFile ? kMoment : 0;
    reply_entry(request, *inode, *known, std::max(attribute_timeout(*inode), least));
    return;
  }
}

void getattr(fuse_req_t request, fuse_ino_t number, fuse_file_info*) {
  reply_attributes(request, number, attributes_for(server_of(request), number, *caller_of(request)));
}

void setattr(fuse_req_t request, fuse_ino_t number, struct stat* wanted, int which, fuse_file_info* file) {
  if (change_attributes(request, shared_of(request).session(), number, *wanted, which))
    getattr(request, number, file);
}

// Nothing is cached: what the file shows changes when the device is bound.
void open(fuse_req_t request, fuse_ino_t number, fuse_file_info* file) {
  if (open_entry(request, number)) return;
  const auto opening = opening_of(request, number, *file);
  if (!opening) return;
  HandleTable& table = shared_of(request).handles();
  const auto handle = table.open(opening->node, opening->options);
  if (!handle) {
    reply_error(request, handle);
    return;
  }
  unsigned flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
  if (opening->node.kind == NodeId::Kind::kControl) flags |= FOPEN_NOFLUSH;  // nothing is kept of it
  if (!reply_open(request, *handle, flags)) table.close(*handle);
}

void release(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  shared_of(request).handles().close(file->fh);
  fuse_reply_err(request, 0);
}

void flush(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
  const auto node = node_of(request, file);
  if (!node) return;
  node->descriptor_closing();
  server_of(request).engine().passed(fuse_req_ctx(request)->pid);
  fuse_reply_err(request, 0);
}

void read(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* file) {
  const auto node = node_of(request, file);
  if (!node) return;
  // Not kept: there may be thousands of threads, and few reads, since a bound device is opened as such.
  const size_t most = std::min(size, kMostRead);
  const AlignedBytes buffer = aligned_bytes(most);
  read_node(request, *node, offset, {buffer.get(), most});
}

void write(fuse_req_t request, fuse_ino_t, const char* bytes, size_t size, off_t offset,
           fuse_file_info* file) {
  const auto node = node_of(request, file);
  if (node) write_node(request, *node, offset, std::as_bytes(std::span(bytes, size)));
}

void fsync(fuse_req_t request, fuse_ino_t, int data_only, fuse_file_info* file) {
  const auto node = node_of(request, file);
  if (node) reply_error(request, node->sync(data_only != 0));
}

void fallocate(fuse_req_t request, fuse_ino_t, int mode, off_t offset, off_t length, fuse_file_info* file) {
  const auto node = node_of(request, file);
  if (!node) return;
  reply_error(request, node->allocate(mode, static_cast<uint64_t>(offset), static_cast<uint64_t>(length)));
}

void ioctl(fuse_req_t request, fuse_ino_t, unsigned command, void* argument, fuse_file_info* file,
           unsigned flags, const void* input, size_t input_size, size_t) {
  auto call =
      ioctl_request(request, {command, argument, flags, {static_cast<const std::byte*>(input), input_size}});
  if (!call) return;
  const auto node = node_of(request, file);
  if (!node) return;
  const auto result = node->ioctl(*call, *caller_of(request));
  reply_ioctl(request, result, call->output);
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

Result<std::unique_ptr<SharedServer>> SharedServer::create(Options options) {
  std::unique_ptr<SharedServer> server(new SharedServer({.engine = options.engine,
                                                         .user_namespace = options.user_namespace,
                                                         .device = options.device,
                                                         .root_uid = options.root_uid,
                                                         .root_gid = options.root_gid,
                                                         .caller = std::move(options.caller),
                                                         .entries = std::move(options.entries)},
                                                        options.serials_from, std::move(options.permit)));
  auto session = HubSession::create(operations(), static_cast<InstanceServer*>(server.get()),
                                    std::move(options.channel), std::move(options.session));
  if (!session) return propagate(session);
  server->session_ = std::move(*session);
  return server;
}

void SharedServer::stop() {
  if (session_) session_->stop();
}

}  // namespace loopfs::fusefs
