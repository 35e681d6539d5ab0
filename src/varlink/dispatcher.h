// Which handler answers which method.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "varlink/call.h"

namespace loopfs::varlink {

// Runs on the thread of the connection, together with handlers of other connections. May block; one that
// streams for long polls Call::socket_fd(), and ends when Call::peer_gone(). May throw: the connection ends.
using Handler = std::function<void(Call&)>;

struct Interface {
  std::string name;                        // "org.example.ftl"
  std::string description;                 // its definition in Varlink's language
  std::map<std::string, Handler> methods;  // by name without interface; an empty one: not implemented
};

// The answer to org.varlink.service.GetInfo.
struct Information {
  std::string vendor;
  std::string product;
  std::string version;
  std::string url;
};

// Holds the interfaces of a service, org.varlink.service among them. Does not change: for all threads.
class Dispatcher {
 public:
  // Errors: EINVAL an interface without a name or twice.
  static Result<Dispatcher> create(const Information& information, std::vector<Interface> interfaces);

  // Answers the call. False if the connection is to be closed, as it was left without an answer.
  bool dispatch(Call& call) const;

 private:
  void find_and_run(Call& call) const;
  void get_interface_description(Call& call) const;

  std::map<std::string, Interface> interfaces_;
  Json information_;
};

}  // namespace loopfs::varlink
