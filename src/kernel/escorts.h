// Holds callers up at the end of the open(2) that leads them to a kernel device.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/threads.h"
#include "kernel/binding.h"

namespace loopfs::kernel {

// A Pass is one more descriptor of the device. Were it still there when the caller closes its own, that would not be
// the last close: what the caller wrote would not be in the backing file when close(2) returns, as programs that read
// the file then expect. So the caller's thread is stopped as it leaves open(2), until its pass is closed. That also
// says for certain when it has opened the device. Thread-safe; each caller is escorted by a thread of the lane, which
// traces it.
class Escorts : public std::enable_shared_from_this<Escorts> {
 public:
  explicit Escorts(std::shared_ptr<base::Lane> lane) : lane_(std::move(lane)) {}

  // The thread is in an open(2) and waits for our answer. False: it cannot be stopped, because it is traced already,
  // or too many are escorted.
  bool begin(pid_t tid, const std::shared_ptr<Binding::Pass>& pass);

  // Whether the thread is under way to that already, with a pass: GETATTR follows the LOOKUP of an open.
  bool is_under_way(pid_t tid, const Binding* binding, uint32_t partition, unsigned minor_number);

  static constexpr unsigned kMost = 16;  // the lane's width

 private:
  void end(pid_t tid);

  const std::shared_ptr<base::Lane> lane_;
  std::mutex mutex_;  // guards active_
  std::map<pid_t, std::vector<std::shared_ptr<Binding::Pass>>> active_;
};

}  // namespace loopfs::kernel
