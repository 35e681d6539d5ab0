// Unix stream sockets at whose other end is somebody who is not trusted, and who may send descriptors along.
#pragma once

#include <cstddef>
#include <span>

#include "base/error.h"

namespace loopfs::sys {

// Who has the last reference to an open file has to wait for its file system when he drops it, and at each close(2) of a
// descriptor of it, too: for as long as a FUSE server, which may be the sender's, likes. (So with a TCP socket that lingers.)
// So none is taken, and nobody here drops the last reference to one: none must be in the queue of a socket that is closed.

// From here on no descriptor gets into the queue of this socket, or of one that comes from it by accept(2) and was
// not connected yet: its sender has EPERM. False: the kernel (before 6.16) lets them in. Bytes sent out of band become plain
// ones, since recv(2) would drop them, and their descriptors with them, unseen.
bool refuse_descriptors(int socket);

struct Waiting {
  size_t bytes = 0;          // in the buffer; 0: the end of the stream
  bool descriptors = false;  // were sent with some of them, or with the byte after them
};

// What waits in the socket, up to the size of `buffer`; it stays there. Errors: those of recv(2); EAGAIN nothing does.
Result<Waiting> peek(int socket, std::span<char> buffer);

// Ends the connection and takes out what was sent. True: close(2) is harmless now. False: a descriptor is next in the
// queue.
bool empty_for_close(int socket);

}  // namespace loopfs::sys
