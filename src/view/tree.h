// The view as a tree of names: the host's block devices without its loop devices, and the instance's own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/engine.h"
#include "view/entry.h"
#include "view/host_tree.h"

namespace loopfs::view {

// Answers from the present state at each call; keeps nothing. Thread-safe. Paths have no leading slash; their
// first component is one of view::kParts.
class Tree {
 public:
  struct Options {
    engine::Engine* engine = nullptr;  // borrowed
    std::string sysfs = "/sys";
    std::string procfs = "/proc";
    std::string udev_data = "/run/udev/data";
  };
  explicit Tree(const Options& options);

  Result<Entry> find(const std::string& path) const;  // a file's text may be missing: see read()
  Result<std::vector<Listed>> list(const std::string& path) const;
  Result<std::string> read(const std::string& path) const;

 private:
  struct Place;
  Place locate(const std::string& path) const;
  bool is_own(const Place& place) const;
  Result<Entry> find_own(const Place& place) const;
  std::vector<Listed> list_own(const Place& place) const;
  Result<std::vector<Listed>> list_device(const Place& place) const;
  std::string partitions() const;

  engine::Engine* engine_;
  HostTree block_, class_block_, dev_block_, virtual_block_, udev_data_, procfs_;
};

}  // namespace loopfs::view
