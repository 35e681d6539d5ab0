#include "supervisor/caller_request.h"

namespace loopfs::supervisor {

int code_of(const Error& error) {
  return error.code != 0 ? error.code : EIO;
}

std::vector<int> borrowed(const std::vector<Fd>& fds) {
  std::vector<int> numbers;
  numbers.reserve(fds.size());
  for (const auto& fd : fds) numbers.push_back(fd.get());
  return numbers;
}

Result<mounter::Agent::Answer> look(mounter::Agent& agent, const Target& target,
                                    const std::vector<Fd>& places, const std::string& path, bool follow) {
  mounter::Request request;
  request.operation = mounter::Operation::kStat;
  request.path = target.visible_path(path);
  request.follow = follow;
  return agent.ask(request, borrowed(places));
}

Result<mounter::Agent::Answer> ask(mounter::Agent& agent, const Target& target, const std::vector<Fd>& places,
                                   mounter::Request request, int fd) {
  request.notification = target.notification().id;
  std::vector<int> fds = borrowed(places);
  fds.push_back(target.listener());
  if (fd >= 0) fds.push_back(fd);
  return agent.ask(request, fds);
}

int code_of_request(mounter::Agent& agent, const Target& target, const std::vector<Fd>& places,
                    mounter::Request request, int fd) {
  auto answer = ask(agent, target, places, std::move(request), fd);
  return answer ? answer->reply.error : code_of(answer.error());
}

}  // namespace loopfs::supervisor
