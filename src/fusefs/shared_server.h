// One instance of many in one process, and one that another process may go on with.
#pragma once

#include <memory>

#include "base/fd.h"
#include "fusefs/handle_table.h"
#include "fusefs/hub_session.h"
#include "fusefs/instance_server.h"

namespace loopfs::fusefs {

// Its nodes lead to devices of the kernel once they are bound, so it is mounted where device nodes work, and who may
// get to one is the engine's to say (shared_visit.h). Nothing is cached of the files of free ones. Requests come from
// the hub; open files are known by numbers of the HandleTable, which the next process understands.
class SharedServer final : public InstanceServer {
 public:
  struct Options {
    engine::Engine* engine = nullptr;  // borrowed; outlives the server
    Fd channel;                        // /dev/fuse, mounted
    int user_namespace = -1;           // borrowed; the one that owns the instance
    dev_t device = 0;                  // st_dev of everything in the mount
    uid_t root_uid = 0;                // of the root directory
    gid_t root_gid = 0;
    HubSession::Options session;
    std::function<std::unique_ptr<engine::Caller>(pid_t tid)> caller;
    HandleTable::Permits permit;       // may be unset
    uint64_t serials_from = 0;         // HandleTable's
    std::unique_ptr<Entries> entries;  // InstanceServer's
  };
  static Result<std::unique_ptr<SharedServer>> create(Options options);
  ~SharedServer() { stop(); }

  Result<void> start() { return session_->start(); }
  // The session's lane must be drained before the server is destroyed.
  void stop();

  Session& session() { return *session_; }
  HandleTable& handles() { return handles_; }

 private:
  SharedServer(Place place, uint64_t serials_from, HandleTable::Permits permit)
      : InstanceServer(std::move(place)), handles_(&engine(), serials_from, std::move(permit)) {}

  std::unique_ptr<HubSession> session_;
  HandleTable handles_;
};

}  // namespace loopfs::fusefs
