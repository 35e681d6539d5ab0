// Partition tables for kernels that were built without the code that reads them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "instance/device.h"
#include "kernel/binding.h"
#include "kernel/device_pool.h"
#include "sys/loop_device.h"

namespace loopfs::kernel {

// Reads the table of a device that has no partitions and adds them, as partx(8) would. The table is read by a process
// without any right, which `program` is run for, with kScanOption: what is in it is anybody's.
// Errors: EIO the process failed.
Result<void> add_partitions(const Binding& binding, const std::string& program);

inline constexpr const char* kScanOption = "--scan-partitions";

// What that process answers: a line "NUMBER START LENGTH" for each partition, in bytes. Pure.
std::string partition_lines(const std::map<uint32_t, instance::Partition>& partitions);

// The edits that such an answer asks for, at most one for each number, up to the first line that is none. Whoever has
// taken the process over may answer anything: the kernel checks start and length. Pure.
std::vector<sys::PartitionEdit> parse_partition_lines(const std::string& answer);

// That process: the device is standard input, the answer goes to standard output. Returns the exit status.
int scan_standard_input();

}  // namespace loopfs::kernel
