// What the agent's workers are asked for the caller of a trapped call.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "mounter/agent.h"
#include "supervisor/target.h"
#include "sys/seccomp.h"

namespace loopfs::supervisor {

// What a trapped call returns. None: the kernel is to perform it.
using Answer = std::optional<sys::CallResult>;

// errno of a call that could not be looked at. A caller that is gone gets no answer anyway.
int code_of(const Error& error);

// `places`: as Target::places() has them.
std::vector<int> borrowed(const std::vector<Fd>& fds);

// What is at the caller's path. Errors: those of the agent; what the worker met is in the reply.
Result<mounter::Agent::Answer> look(mounter::Agent& agent, const Target& target,
                                    const std::vector<Fd>& places, const std::string& path, bool follow);

// A request that attaches something; `places`, the listener and then `fd` (if any) go with it. Errors: those of the agent.
Result<mounter::Agent::Answer> ask(mounter::Agent& agent, const Target& target, const std::vector<Fd>& places,
                                   mounter::Request request, int fd = -1);

// What one returns that has nothing to say but its errno.
int code_of_request(mounter::Agent& agent, const Target& target, const std::vector<Fd>& places,
                    mounter::Request request, int fd = -1);

}  // namespace loopfs::supervisor
