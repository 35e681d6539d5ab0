// What the supervisor decides without asking anybody, for any call and any text: which mount(2) is its business, what a
// program is told, what /proc says of a caller, what a worker of the agent is asked.
#include <sys/mount.h>

#include <set>
#include <string>

#include "base/printable.h"
#include "fusefs/caller_syscall.h"
#include "harness.h"
#include "mounter/mount_plan.h"
#include "mounter/mount_points.h"
#include "mounter/program.h"
#include "mounter/protocol.h"
#include "supervisor/decision.h"
#include "supervisor/filter.h"
#include "sys/procfs.h"

namespace loopfs::fuzz {
namespace {

constexpr uint64_t kOfMounts = MS_BIND | MS_MOVE | MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE;

std::set<std::string> virtual_types() {
  return supervisor::parse_virtual_types("nodev\tproc\nnodev\ttmpfs\nnodev\tfuse\n\text4\n");
}

void decision(Input& input) {
  static const std::set<std::string> kVirtual = virtual_types();
  const auto flags = input.take<uint64_t>();
  const std::string type(input.rest());
  const auto decided = supervisor::decide_mount(flags, type, kVirtual);
  const uint64_t plain = supervisor::without_magic(flags);
  FUZZ_CHECK(supervisor::without_magic(plain) == plain || (plain & 0xffff0000) == 0xC0ED0000);
  const bool of_mounts = (plain & (kOfMounts | MS_REMOUNT)) != 0;
  // A device's mount is looked at, whatever else is set.
  if (!of_mounts && (type == "ext4" || type == "vfat")) FUZZ_CHECK(decided == supervisor::Decision::kMount);
  if (of_mounts)
    FUZZ_CHECK(decided != supervisor::Decision::kMount && decided != supervisor::Decision::kQuestion);
  if (!of_mounts && type == supervisor::kQuestionType) FUZZ_CHECK(decided == supervisor::Decision::kQuestion);
}

void paths(Input& input) {
  const int pid = input.take<uint16_t>(), tid = input.take<uint16_t>();
  const std::string path(input.rest());
  const std::string rewritten = supervisor::rewrite_proc_self(path, pid, tid);
  FUZZ_CHECK(rewritten == path || rewritten.starts_with("/proc/"));
  // Its own /proc is the caller's, not ours.
  FUZZ_CHECK(!rewritten.starts_with("/proc/self/") && !rewritten.starts_with("/proc/thread-self/"));
}

void file_systems(Input& input) {
  const std::string text(input.rest());
  const auto without = supervisor::parse_virtual_types(text), with = supervisor::parse_device_types(text);
  for (const auto* types : {&without, &with}) {
    for (const std::string& type : *types) FUZZ_CHECK(type.find('\n') == std::string::npos);
  }
}

void plan(Input& input) {
  static const auto kTable = mounter::ProgramTable::built_in();
  const auto& program = kTable.programs()[input.below(kTable.programs().size())];
  const auto flags = static_cast<unsigned long>(input.take<uint32_t>());
  const std::string data(input.rest());
  const auto planned = mounter::plan_mount(flags, data, program);
  FUZZ_CHECK(planned || planned.error().code == EINVAL);
  if (!planned) return;
  FUZZ_CHECK(!program.read_only || planned->read_only);
  FUZZ_CHECK((flags & MS_RDONLY) == 0 || planned->read_only);
  // They are joined with commas: none may smuggle in another.
  for (const std::string& option : planned->options) FUZZ_CHECK(option.find(',') == std::string::npos);
}

void types(Input& input) {
  const std::string asked(input.counted()), found(input.rest());
  (void)mounter::type_accepts(asked, found);
  if (asked == found && !asked.empty()) FUZZ_CHECK(mounter::type_accepts(asked, found));
}

void mount_points(Input& input) {
  const auto device = input.take<uint16_t>();
  const std::string text(input.rest());
  size_t bytes = 0;
  for (const std::string& point : mounter::mount_points(text, device)) bytes += point.size();
  FUZZ_CHECK(bytes <= text.size());
}

void program_output(Input& input) {
  const std::string source(input.counted());
  const std::string line = mounter::telling_line(std::string(input.rest()), source);
  FUZZ_CHECK(line.size() <= 200);
  for (const unsigned char c : line) FUZZ_CHECK(c >= 0x20 && c <= 0x7e);
}

void proc_files(Input& input) {
  const std::string_view text = input.rest();
  (void)sys::parse_status(text);
  const auto call = sys::parse_system_call(text);
  if (!call) return;
  const auto flags = fusefs::open_flags_of(*call);
  // Who opens does not merely look: he must not be shown a device.
  FUZZ_CHECK(!flags.opens || !fusefs::only_looks(*call));
  const auto intent = fusefs::intent_of_flags(flags.where);
  FUZZ_CHECK(!intent.looks && (!intent.exclusive || intent.opens));
}

// Any system call, without its text.
void system_call(Input& input) {
  sys::SystemCall call;
  call.number = input.take<int16_t>();
  call.stack_pointer = input.take<uint64_t>();
  call.program_counter = input.take<uint64_t>();
  for (uint64_t& argument : call.arguments) argument = input.take<uint64_t>();
  const auto flags = fusefs::open_flags_of(call);
  FUZZ_CHECK(!flags.opens || !fusefs::only_looks(call));
  FUZZ_CHECK(!call.of_io_uring() || (flags.opens && !fusefs::only_looks(call)));
  (void)fusefs::is_open_call({.opens = flags.opens, .call = call});
}

void messages(Input& input) {
  const std::string_view text = input.rest();
  const auto bytes = std::as_bytes(std::span(text));
  const auto request = mounter::decode_request(bytes);
  if (request) {
    const auto again = mounter::decode_request(mounter::encode(*request));
    FUZZ_CHECK(again && again->path == request->path && again->options == request->options);
  }
  const auto reply = mounter::decode_reply(bytes);
  if (reply) FUZZ_CHECK(mounter::decode_reply(mounter::encode(*reply))->line == reply->line);
}

// Names that others have chosen, before they come to a terminal.
void printable(Input& input) {
  const std::string_view text = input.rest();
  const std::string shown = base::to_printable(text), plain = base::to_utf8(text);
  for (const unsigned char c : shown) FUZZ_CHECK(c >= 0x20 && c != 0x7f);
  FUZZ_CHECK(base::to_printable(shown) == shown && base::to_utf8(plain) == plain);
}

}  // namespace
}  // namespace loopfs::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace loopfs::fuzz;
  static constexpr void (*kParts[])(Input&) = {decision,    paths,        file_systems,   plan,
                                               types,       mount_points, program_output, proc_files,
                                               system_call, messages,     printable};
  if (size > 65536) return 0;  // what a message of ours can have
  Input input(data, size);
  input.one_of(kParts)(input);
  return 0;
}
