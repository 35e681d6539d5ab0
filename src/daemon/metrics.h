// Counts for Prometheus, in a text file that its node exporter collects.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "daemon/manager.h"

namespace loopfs::daemon {

// In Prometheus's text format. Pure.
std::string format_metrics(const Counts& counts);

// Writes the file anew at each interval, by rename, on a thread of its own. An empty path: does nothing.
class MetricsFile {
 public:
  MetricsFile(std::string path, std::chrono::seconds interval, Manager* manager);
  ~MetricsFile();

 private:
  void run();
  void write() const;

  const std::string path_;
  const std::chrono::seconds interval_;
  Manager* const manager_;
  std::mutex mutex_;  // guards stopping_
  std::condition_variable changed_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace loopfs::daemon
