// What a worker's reply is made of: the bytes, and the descriptors that go with them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "mounter/protocol.h"

namespace loopfs::mounter {

struct Outcome {
  Reply reply;
  std::vector<Fd> fds;
};

inline Outcome failed(const Error& error, std::string line = {}) {
  return {Reply{.error = error.code, .line = std::move(line)}, {}};
}

inline Outcome done(Reply reply = {}) {
  return {std::move(reply), {}};
}

}  // namespace loopfs::mounter
