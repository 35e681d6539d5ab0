// What the daemon answers, as text for people. The daemon may be another version, and what it tells of is
// chosen by containers: anything may be missing, and every string is made printable.
#pragma once

#include <string>
#include <vector>

#include "varlink/json.h"

namespace loopfs::cli {

using varlink::Json;

// A line for each device that has a file (`all`: for each device), and one for an instance without any.
std::string instances_table(const std::vector<Json>& instances, bool all);

// Everything about one, a "name: value" a line.
std::string instance_text(const Json& instance);

// One line without its newline; before it another one, if events were lost.
std::string event_text(const Json& event);

// `limits` as Limits() answers.
std::string limits_table(const Json& limits);

// For --json: one line, nothing but ASCII.
std::string json_text(const Json& json);

}  // namespace loopfs::cli
