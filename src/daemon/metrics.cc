#include "daemon/metrics.h"

#include <spdlog/spdlog.h>

#include <cstdio>
#include <fstream>

namespace loopfs::daemon {

std::string format_metrics(const Counts& counts) {
  struct Line {
    const char* name;
    const char* type;
    const char* help;
    uint64_t value;
  };
  const Line lines[] = {
      {"loopfs_instances", "gauge", "Instances that are mounted.", counts.instances},
      {"loopfs_devices", "gauge", "Devices in all instances.", counts.devices},
      {"loopfs_devices_bound", "gauge", "Devices with a backing file.", counts.bound},
      {"loopfs_devices_lingering", "gauge", "Devices in use after the end of their instance.",
       counts.lingering},
      {"loopfs_mounts_total", "counter", "Instances made by this server.", counts.mounts_total},
      {"loopfs_binds_total", "counter", "Devices bound by this server.", counts.binds_total},
      {"loopfs_clears_total", "counter", "Devices seen unbound by this server.", counts.clears_total},
      {"loopfs_refusals_total", "counter", "Requests refused for a limit.", counts.refusals_total},
  };
  std::string text;
  for (const Line& line : lines) {
    text +=
        fmt::format("# HELP {0} {2}\n# TYPE {0} {1}\n{0} {3}\n", line.name, line.type, line.help, line.value);
  }
  return text;
}

MetricsFile::MetricsFile(std::string path, std::chrono::seconds interval, Manager* manager)
    : path_(std::move(path)), interval_(interval), manager_(manager) {
  if (!path_.empty()) thread_ = std::thread([this] { run(); });
}

MetricsFile::~MetricsFile() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void MetricsFile::write() const {
  const std::string fresh = path_ + ".new";
  std::ofstream file(fresh, std::ios::trunc);
  file << format_metrics(manager_->counts());
  file.close();
  if (!file || std::rename(fresh.c_str(), path_.c_str()) != 0) spdlog::warn("write '{}' failed", path_);
}

void MetricsFile::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    write();
    lock.lock();
    changed_.wait_for(lock, interval_, [this] { return stopping_; });
  }
}

}  // namespace loopfs::daemon
