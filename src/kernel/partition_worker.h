// Partition tables for kernels that were built without the code that reads them.
#pragma once

#include "base/error.h"
#include "kernel/binding.h"
#include "kernel/device_pool.h"

namespace loopfs::kernel {

// Reads the table of a device that has no partitions and adds them, as partx(8) would. The table is read by a process
// without any right, which `program` is run for, with kScanOption: what is in it is anybody's.
// Errors: EIO the process failed.
Result<void> add_partitions(const Binding& binding, const std::string& program);

inline constexpr const char* kScanOption = "--scan-partitions";

// That process: the device is standard input, the answer goes to standard output. Returns the exit status.
int scan_standard_input();

}  // namespace loopfs::kernel
