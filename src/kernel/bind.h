// LOOP_CONFIGURE and LOOP_SET_FD of an instance, performed on a kernel device.
#pragma once

#include <linux/loop.h>

#include "engine/caller.h"
#include "kernel/kernel_engine.h"

namespace loopfs::kernel {

struct Bound {
  std::shared_ptr<Binding> binding;
  Fd native;  // open on the device as the handle is
};

// Takes the caller's file and binds a kernel device to it, as the handle of device `number`, opened with
// `options`, asks for. On return the device is bound and recorded, and the node leads to it.
// Errors: those of loop(4); EOPNOTSUPP for a file whose file system is a FUSE program, unless allowed.
Result<Bound> bind_device(KernelEngine& engine, uint32_t number, const engine::OpenOptions& options,
                          const loop_config& config, const engine::Caller& caller);

// The binding that a record tells of, if the kernel has it. Null: not, or not any more.
std::shared_ptr<Binding> restore_binding(const BindingRecord& record);

}  // namespace loopfs::kernel
