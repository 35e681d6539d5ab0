// Stops a thread at the end of the system call that it is in: ptrace(2).
#pragma once

#include <sys/types.h>

#include <functional>

#include "base/error.h"
#include "base/threads.h"

namespace loopfs::sys {

// Has `act` called on a thread of the lane when the thread `tid`, which waits for us in a system call, has come to the end
// of it, and then has it go on as let_go() says, with what `act` returns; or `gone`, if it never comes there. Returns once
// that is certain, before it does so; false: it cannot be stopped, because it is traced already, or the lane is full.
bool at_end_of_call(base::Lane& lane, pid_t tid, const std::function<int(int stop)>& act,
                    const std::function<void()>& gone);

// The thread will stop before it is back in its own code. The calling thread is its tracer until it calls
// let_go(); if that ends, the thread goes on. Errors: EPERM it has a tracer, or is no thread of a program; ESRCH.
Result<void> stop_at_end_of_call(pid_t tid);

// Waits until the thread has stopped, or is gone. Returns what let_go() needs. Errors: ESRCH it is gone.
Result<int> wait_for_stop(pid_t tid);

// It goes on, with the signal that had stopped it if one had. One that was killed is waited for, so that its parent sees its end.
void let_go(pid_t tid, int stop);

}  // namespace loopfs::sys
