// The process that touches what strangers have: their memory, their descriptors, what is in their images.
#pragma once

namespace loopfs::porter {

// Whatever is done with a stranger's file may wait for its file system: fstat(2), close(2), an ioctl. So may a look into
// his memory, which can be a mapping of such a file. A thread that waits so cannot be killed, nor the process that it
// is of be ended. That is why none of it is done by the server, which serves all, but by a process like this one,
// which can be left behind.
//
// Serves the orders that come out of `socket` until the other end is closed. Single-threaded.
void serve(int socket);

}  // namespace loopfs::porter
