// Tells systemd how the service is: the protocol of sd_notify(3).
#pragma once

#include <string>

namespace loopfs::keeper {

class Notifier {
 public:
  // Takes NOTIFY_SOCKET out of the environment, so that nobody else uses it.
  static Notifier from_environment();

  // Lines of VARIABLE=VALUE. Never blocks; does nothing if nobody listens.
  void send(const std::string& lines) const;

 private:
  std::string path_;  // empty: not started by systemd
};

}  // namespace loopfs::keeper
