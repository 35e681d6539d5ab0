#include "fusefs/shared_visit.h"

#include "fusefs/caller_syscall.h"
#include "fusefs/visit.h"

namespace loopfs::fusefs {
namespace {

using engine::NodeAttributes;
using engine::NodeId;

// Lets a caller in to a kernel device. What only looks needs no leave: it will not get there.
Result<void> admit(engine::Engine& engine, const NodeId& node, uint64_t binding, const engine::Caller& caller,
                   const Intent& intent) {
  if (intent.looks) return {};
  // Of a process that we cannot see we could not tell when it is through.
  if (caller.thread() == 0) return fail(EACCES, "a caller of another pid namespace");
  return engine.admit(node, binding,
                      {.tid = caller.thread(), .call = intent.call, .in_open = is_open_call(intent)});
}

}  // namespace

Result<Inode> inode_for(engine::Engine& engine, const NodeAttributes& known, const engine::Caller& caller) {
  const Intent intent = caller.thread() != 0 ? intent_of(caller) : Intent{};
  if (known.binding) {
    if (auto admitted = admit(engine, known.id, *known.binding, caller, intent); !admitted)
      return propagate(admitted);
    return Inode{known.id, Flavour::kKernel, *known.binding};
  }
  // Nobody must get as far as the number of a device.
  return Inode{known.id, intent.looks ? Flavour::kDevice : Flavour::kFile};
}

Result<struct stat> attributes_for(InstanceServer& server, uint64_t number, const engine::Caller& caller) {
  if (number == kRootInode || Entries::is_entry(number)) return attributes_beside_nodes(server, number);
  const auto inode = inode_of_number(number);
  const auto known = inode ? server.engine().attributes(inode->node) : std::nullopt;
  if (!known) return fail(ENOENT, "inode {}", number);
  if (inode->flavour == Flavour::kKernel) {
    if (!known->binding || (*known->binding & UINT32_MAX) != inode->binding)
      return fail(ESTALE, "inode {}", number);
    auto admitted = admit(server.engine(), inode->node, *known->binding, caller, intent_of(caller));
    if (!admitted) return propagate(admitted);
  } else if (inode->flavour == Flavour::kDevice && (caller.thread() == 0 || !intent_of(caller).looks)) {
    return fail(ESTALE, "inode {}", number);
  }
  return attributes_of(*inode, *known);
}

}  // namespace loopfs::fusefs
