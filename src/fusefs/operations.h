// What the servers of both kinds answer alike: whole operations, and parts of those that differ.
#pragma once

#include <fuse3/fuse_lowlevel.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "engine/engine.h"
#include "fusefs/caller_syscall.h"
#include "fusefs/instance_server.h"
#include "fusefs/node_table.h"
#include "fusefs/session.h"

namespace loopfs::fusefs {

constexpr size_t kMostIo = 1 << 20;  // bytes of one read or write; the kernel's own limit for FUSE
constexpr double kForever = 1e9;     // seconds

InstanceServer& server_of(fuse_req_t request);
// Who asks.
std::unique_ptr<engine::Caller> caller_of(fuse_req_t request);

// All that knows of no open file and depends on nobody's intent: names, the directory, what cannot be done.
fuse_lowlevel_ops common_operations();

// INIT. `most_write`: bytes of one WRITE.
void limit_connection(fuse_conn_info* connection, size_t most_write);

template <typename T>
void reply_error(fuse_req_t request, const Result<T>& result) {
  fuse_reply_err(request, result ? 0 : result.error().code);
}

// LOOKUP. None: there is no such node, and the request is answered.
std::optional<engine::NodeAttributes> find_node(fuse_req_t request, const char* name);
void reply_entry(fuse_req_t request, const Inode& inode, const engine::NodeAttributes& node,
                 double attribute_timeout);

// For how long the kernel need not ask for a node's attributes again. Those of loop-control change by chmod and
// chown only, which it knows of; of its device inode it has to ask, since that is when an open can be refused.
double attribute_timeout(const Inode& inode);

// GETATTR, and the answer to SETATTR.
void reply_attributes(fuse_req_t request, uint64_t number, const Result<struct stat>& status);

// SETATTR. A new size is accepted and changes nothing: `dd seek=` and O_TRUNC take the node for a regular file. So are
// times. False: the request is answered, with an error.
bool change_attributes(fuse_req_t request, const Session& session, uint64_t number, const struct stat& wanted,
                       int which);

// OPEN. None: it is no node, and the request is answered.
struct Opening {
  engine::NodeId node;
  engine::OpenOptions options;
  std::optional<Intent> intent = {};  // the caller's; not asked for with loop-control, which nobody claims
};
std::optional<Opening> opening_of(fuse_req_t request, uint64_t number, const fuse_file_info& file);
// libfuse 3.14 cannot set all flags. False: the caller is gone, and no RELEASE will come.
bool reply_open(fuse_req_t request, uint64_t handle, unsigned flags);

// Aligned, because a device in direct I/O mode wants it so.
struct Free {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using AlignedBytes = std::unique_ptr<std::byte, Free>;
AlignedBytes aligned_bytes(size_t size);

void read_node(fuse_req_t request, engine::OpenNode& node, off_t offset, std::span<std::byte> buffer);
void write_node(fuse_req_t request, engine::OpenNode& node, off_t offset, std::span<const std::byte> bytes);

// IOCTL, as libfuse gives it. None: nobody answers that, and the request is answered.
struct IoctlArguments {
  unsigned command = 0;
  void* argument = nullptr;
  unsigned flags = 0;
  std::span<const std::byte> input;
};
std::optional<engine::IoctlRequest> ioctl_request(fuse_req_t request, const IoctlArguments& arguments);
void reply_ioctl(fuse_req_t request, const Result<int>& result, const std::vector<std::byte>& output);

}  // namespace loopfs::fusefs
