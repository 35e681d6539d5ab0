// loopfs.toml, of any text: the daemon's part and that of `loopfs run`.
#include "mounter/config.h"

#include <array>

#include "base/printable.h"
#include "harness.h"
#include "mounter/mount_plan.h"
#include "policy/config.h"

namespace loopfs::fuzz {
namespace {

constexpr size_t kLongest = 16384;  // bytes; more shows nothing new and takes long

void check_message(const Error& error) {
  FUZZ_CHECK(error.code != 0);
  // Printed on a terminal, in one line.
  for (const unsigned char c : error.message()) FUZZ_CHECK(c >= 0x20 && c != 0x7f);
}

void check_rules(const policy::Rules& rules) {
  FUZZ_CHECK(rules.devices <= 1U << 20U);
  FUZZ_CHECK(rules.instances <= 1U << 16U);
  for (const std::string& type : rules.filesystems) {
    FUZZ_CHECK(!type.empty() && type.find_first_of(std::string_view("/, \n\0", 5)) == std::string::npos);
  }
}

void daemons_part(std::string_view text) {
  const auto config = policy::Config::parse(text, "loopfs.toml");
  if (!config) return check_message(config.error());
  for (const std::string& line : config->warnings()) {
    for (const unsigned char c : line) FUZZ_CHECK(c >= 0x20 && c != 0x7f);
  }
  const std::array<gid_t, 2> gids{0, 100};
  for (const uid_t uid : {0U, 1000U, 65534U}) {
    check_rules(config->rules_for(uid, gids));
    check_rules(config->rules_for(uid, {}));
  }
  FUZZ_CHECK(config->daemon().socket.starts_with('/'));
  FUZZ_CHECK(config->daemon().socket.size() < 108);
  FUZZ_CHECK(config->daemon().metrics_interval >= 1);
  FUZZ_CHECK(config->limits().devices_per_instance <= 4096);
}

void programs(std::string_view text) {
  const auto table = mounter::ProgramTable::parse(std::string(text), "loopfs.toml");
  if (!table) return check_message(table.error());
  FUZZ_CHECK(!table->programs().empty());  // the built-in ones
  for (const mounter::Program& program : table->programs()) {
    FUZZ_CHECK(!program.command.empty() && !program.filesystems.empty());
  }
  (void)mounter::plan_mount(1, "ro,errors=remount-ro,uid=5,x", table->programs().front());
}

}  // namespace
}  // namespace loopfs::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > loopfs::fuzz::kLongest) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  loopfs::fuzz::daemons_part(text);
  loopfs::fuzz::programs(text);
  return 0;
}
