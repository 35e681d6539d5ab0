// `loopfs attach` and `loopfs detach`: files on the devices of a mounted instance, by ioctl(2) on its nodes.
// Neither asks the daemon, and an instance of `loopfs run`, mounted on /dev, does as well.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.h"

namespace loopfs::cli {

// "/dev/loopfs", or "/dev" where that is an instance, as in a sandbox, and the other is not there.
std::string default_instance();

struct AttachOptions {
  std::string instance = default_instance();  // has loop-control and the devices
  uint64_t offset = 0, sizelimit = 0;         // bytes; sizelimit 0: none
  bool read_only = false;
  bool partscan = false;
  std::optional<bool> direct_io;  // none: what the instance does by itself
  uint32_t block_size = 0;        // 0: the kernel's choice
  std::string file;
};

struct DetachOptions {
  std::string instance = default_instance();
  std::string what;  // a device, or a file that devices of the instance have
};

// N of "loopN", nothing else.
std::optional<uint32_t> number_of_device(const std::string& name);

// The path that `what` means if it is a device: itself, or for the bare "loop3" that of the instance.
std::string device_path(const DetachOptions& options);

// Each prints its answer, or once the error, and returns the exit status: 0 or 1.
int attach(const AttachOptions& options);
int detach(const DetachOptions& options);

}  // namespace loopfs::cli
