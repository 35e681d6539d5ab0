// The server's side of the keeper: what it wants to find again after it was killed or replaced.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "keeper/item.h"
#include "keeper/wire.h"
#include "sys/message.h"

namespace loopfs::keeper {

// Owns the server's end of the socket. Thread-safe. A process forked
// from the server must not use it. Each call takes effect wholly or not at all, wherever the server is
// killed; one that had returned has taken effect.
//
// Errors of every call: EPIPE the keeper is gone (the server is about to be killed as well), EPROTO.
class Store {
 public:
  // `socket` is the descriptor whose number the command line got for "{fd}".
  explicit Store(Fd socket);

  // All items in the order of their names, with duplicates of their fds, close-on-exec.
  // Errors: EMFILE this process cannot have so many descriptors.
  Result<std::vector<Item>> load();

  // A new item, or a new state of the one of that name; the fds are borrowed. The keeper closes the fds
  // of the old state soon, but not necessarily before this returns.
  // Errors: EINVAL no name, EMSGSIZE over the limits of an item, ENOSPC, EMFILE the keeper cannot keep more.
  Result<void> put(std::string_view name, std::string_view payload, std::span<const int> fds);

  // The item keeps its fds. Errors: ENOENT, EMSGSIZE, ENOSPC.
  Result<void> set_payload(std::string_view name, std::string_view payload);

  // The keeper closes the fds soon, but not necessarily before this returns. Errors: ENOENT.
  Result<void> drop(std::string_view name);

  // As put() and drop(), and as safe on return: the keeper performs what was sent to it, also by a server that
  // was killed. But they do not wait for its answer, so ENOSPC, EMFILE and ENOENT are not told.
  Result<void> put_soon(std::string_view name, std::string_view payload, std::span<const int> fds);
  Result<void> drop_soon(std::string_view name);

  // As put_soon(), and its answer can be waited for later, once: the errors of put().
  using Ticket = uint64_t;
  Result<Ticket> put_ahead(std::string_view name, std::string_view payload, std::span<const int> fds);
  Result<void> answer(Ticket ticket);

  // The same, and the fds are closed when it returns. Only while this process has the same open files open, too:
  // else closing them may block, and the keeper with it.
  Result<void> drop_now(std::string_view name);

  // The server serves: the keeper tells systemd.
  Result<void> ready();

 private:
  Result<sys::Message> exchange(Act act, const Record& record, std::span<const int> fds, size_t limit);
  Result<void> ask(Act act, const Record& record, std::span<const int> fds = {});
  Result<void> tell(Act act, const Record& record, std::span<const int> fds = {});
  Result<void> tell_locked(Act act, const Record& record, std::span<const int> fds);
  Result<sys::Message> receive(size_t limit);
  Result<void> read_answers(uint64_t until);

  std::mutex mutex_;  // one exchange at a time; guards what follows
  // Of what was sent without waiting, and of its answers. They come in the same order.
  uint64_t sent_ = 0, answered_ = 0;
  std::map<Ticket, int> awaited_;  // the codes of those that somebody will ask for
  const Fd socket_;
};

}  // namespace loopfs::keeper
