// `loopfs doctor`: what this machine has and lacks for `loopfs run`, with the remedy for each.
#pragma once

#include <string>
#include <vector>

#include "cli/machine.h"
#include "cli/options.h"

namespace loopfs::cli {

struct Finding {
  enum class State {
    kOk,
    kLacking,  // `loopfs run` works with less
    kMissing,  // `loopfs run` cannot work
    kAside,    // `loopfs run` works all the same: of loopfsd
  };
  State state = State::kOk;
  std::string subject;
  std::string detail;
  std::string remedy;  // empty for kOk
};

// The judgement of each subject, most important first. Pure.
std::vector<Finding> judge(const MachineFacts& facts);

// The report as printed, one line a finding and one a remedy, and a closing line.
std::string report(const std::vector<Finding>& findings);

// Examines the machine and prints the report. Exit status: 1 if `loopfs run` cannot work here, else 0.
int doctor(const DoctorOptions& options);

}  // namespace loopfs::cli
