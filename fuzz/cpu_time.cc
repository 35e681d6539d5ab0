// Ends a run of libFuzzer in good order when the process has had LOOPFS_FUZZ_SECONDS of processor time: on a busy
// machine its own -max_total_time says little about how much has been tried.
#include <csignal>
#include <cstdlib>
#include <ctime>

namespace {

const bool started = [] {
  const char* seconds = std::getenv("LOOPFS_FUZZ_SECONDS");
  if (seconds == nullptr) return false;
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo =
      SIGUSR1;  // libFuzzer's -handle_usr1: it finishes the input, prints its figures and exits
  timer_t timer{};
  if (::timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer) != 0) std::abort();
  const itimerspec when{.it_interval = {1, 0}, .it_value = {std::atol(seconds), 0}};
  if (::timer_settime(timer, 0, &when, nullptr) != 0) std::abort();
  return true;
}();

}  // namespace
