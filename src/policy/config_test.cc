#include "policy/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

namespace loopfs::policy {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Config config_of(const std::string& text) {
  auto config = Config::parse(text, "loopfs.toml");
  EXPECT_TRUE(config) << config.error().message();
  return config ? *config : Config();
}

std::string mistake_of(const std::string& text) {
  const auto config = Config::parse(text, "loopfs.toml");
  if (config) return "none";
  EXPECT_EQ(config.error().code, EINVAL);
  EXPECT_EQ(config.error().what.find('\n'), std::string::npos);
  return config.error().what;
}

TEST(Config, AnEmptyFileMeansTheDefaults) {
  const Config config = config_of("");
  EXPECT_EQ(config.daemon().socket, "/run/loopfs/io.loopfs.Manager");
  EXPECT_EQ(config.daemon().log_level, "info");
  EXPECT_EQ(config.daemon().metrics, "");
  EXPECT_EQ(config.daemon().metrics_interval, 15U);
  EXPECT_EQ(config.limits().devices_per_instance, 4096U);
  EXPECT_EQ(config.limits().connections_per_user, 32U);
  EXPECT_EQ(config.limits().requests_per_instance, 8U);
  const Rules rules = config.rules_for(1000, {});
  EXPECT_TRUE(rules.allow);
  EXPECT_EQ(rules.mount, MountPolicy::kFuse);
  EXPECT_THAT(rules.filesystems,
              ElementsAre("ext2", "ext3", "ext4", "xfs", "squashfs", "erofs", "btrfs", "vfat"));
  EXPECT_EQ(rules.devices, 255U);
  EXPECT_EQ(rules.instances, 64U);
}

TEST(Config, EveryKeyIsRead) {
  const Config config = config_of(R"(
[daemon]
socket = "/run/other"
log_level = "debug"
metrics = "/var/lib/node_exporter/loopfs.prom"
metrics_interval = 60
[limits]
devices_per_user = 10000
instances_per_user = 1
devices_per_instance = 16
connections_per_user = 2
requests_per_instance = 3
[mount]
default = "kernel"
kernel_filesystems = ["ext4"]
)");
  EXPECT_EQ(config.daemon().socket, "/run/other");
  EXPECT_EQ(config.daemon().log_level, "debug");
  EXPECT_EQ(config.daemon().metrics, "/var/lib/node_exporter/loopfs.prom");
  EXPECT_EQ(config.daemon().metrics_interval, 60U);
  EXPECT_EQ(config.limits().devices_per_instance, 16U);
  EXPECT_EQ(config.limits().connections_per_user, 2U);
  EXPECT_EQ(config.limits().requests_per_instance, 3U);
  const Rules rules = config.rules_for(0, {});
  EXPECT_EQ(rules.mount, MountPolicy::kKernel);
  EXPECT_THAT(rules.filesystems, ElementsAre("ext4"));
  EXPECT_EQ(rules.devices, 10000U);
  EXPECT_EQ(rules.instances, 1U);
}

TEST(Config, TheFirstUserThatMatchesWins) {
  const Config config = config_of(R"(
[[user]]
name = "root"
mount = "kernel"
kernel_filesystems = []
[[user]]
uid = 1000
devices = 7
[[user]]
group = "root"
instances = 3
[[user]]
any = true
allow = false
mount = "deny"
)");
  const gid_t root_group[] = {5, 0};
  const gid_t others[] = {5, 6};
  const Rules root = config.rules_for(0, root_group);
  EXPECT_EQ(root.mount, MountPolicy::kKernel);
  EXPECT_THAT(root.filesystems, IsEmpty());
  EXPECT_EQ(root.instances, 64U);
  const Rules alice = config.rules_for(1000, root_group);
  EXPECT_TRUE(alice.allow);
  EXPECT_EQ(alice.devices, 7U);
  EXPECT_EQ(alice.instances, 64U);
  const Rules member = config.rules_for(1001, root_group);
  EXPECT_TRUE(member.allow);
  EXPECT_EQ(member.instances, 3U);
  EXPECT_EQ(member.devices, 255U);
  const Rules other = config.rules_for(1001, others);
  EXPECT_FALSE(other.allow);
  EXPECT_EQ(other.mount, MountPolicy::kDeny);
}

TEST(Config, MistakesNameThePlaceAndWhatIsWanted) {
  EXPECT_EQ(mistake_of("\n\n[limits]\ninstances_per_user = 1\ndevices_per_user = \"many\"\n"),
            "loopfs.toml:5: [limits] devices_per_user: a number from 0 to 1048576 is wanted, not \"many\"");
  EXPECT_EQ(mistake_of("[limits]\ndevices_per_instance = 4097"),
            "loopfs.toml:2: [limits] devices_per_instance: a number from 1 to 4096 is wanted, not 4097");
  EXPECT_EQ(mistake_of("[limits]\ninstances_per_user = -1"),
            "loopfs.toml:2: [limits] instances_per_user: a number from 0 to 65536 is wanted, not -1");
  EXPECT_EQ(mistake_of("[daemon]\nlog_level = 'loud\\n'"),
            "loopfs.toml:2: [daemon] log_level: \"trace\", \"debug\", \"info\", \"warning\", \"error\", "
            "\"critical\" "
            "or \"off\" is wanted, not \"loud\\n\"");
  EXPECT_EQ(mistake_of("[daemon]\nsocket = \"run\\nloopfs\""),
            "loopfs.toml:2: [daemon] socket: an absolute path of at most 107 bytes is wanted, not "
            "\"run\\x0aloopfs\"");
  EXPECT_EQ(mistake_of("[daemon]\nmetrics_interval = 1.5"),
            "loopfs.toml:2: [daemon] metrics_interval: a number from 1 to 86400 is wanted, not a fraction");
  EXPECT_EQ(mistake_of("[mount]\ndefault = true"),
            "loopfs.toml:2: [mount] default: \"fuse\", \"kernel\" or \"deny\" is wanted, not true");
  EXPECT_THAT(mistake_of("[mount]\nkernel_filesystems = [\"ext4\",\n \"../x\"]"),
              HasSubstr("loopfs.toml:3: [mount]"));
  EXPECT_THAT(mistake_of("[mount]\nkernel_filesystems = 'ext4'"),
              HasSubstr("a list of file systems such as"));
  EXPECT_THAT(mistake_of("[limits]\ninstances_per_user = \"" + std::string(1000, 'x') + "\""),
              HasSubstr("xxx...\""));
  EXPECT_THAT(mistake_of("a = 1\n[daemon\n"), HasSubstr("loopfs.toml:2: "));
}

TEST(Config, UnknownKeysInItsTablesAreMistakes) {
  EXPECT_EQ(mistake_of("[daemon]\nsocket = \"/a\"\nsockets = 1"),
            "loopfs.toml:3: [daemon] \"sockets\": unknown key");
  EXPECT_EQ(mistake_of("[[user]]\nany = true\nmounts = \"fuse\""),
            "loopfs.toml:3: [[user]] \"mounts\": unknown key");
  EXPECT_EQ(mistake_of("\ncolour = 1"), "loopfs.toml:2: \"colour\": unknown key outside of all tables");
  EXPECT_EQ(mistake_of("[user]\nany = true"), "loopfs.toml:1: 'user' must be written as [[user]]");
  EXPECT_EQ(mistake_of("user = []"), "loopfs.toml:1: 'user' must be written as [[user]]");
  EXPECT_EQ(mistake_of("[[limits]]\ndevices_per_user = 1"),
            "loopfs.toml:1: 'limits' must be written as [limits]");
}

TEST(Config, AUserRuleIsForExactlyOneKindOfUser) {
  const std::string one =
      "loopfs.toml:1: [[user]] name, uid, group, any: one of these is wanted, and no more than one";
  EXPECT_EQ(mistake_of("[[user]]\nallow = false"), one);
  EXPECT_EQ(mistake_of("[[user]]\nany = true\nuid = 3"), one);
  EXPECT_EQ(mistake_of("[[user]]\nany = false"), "loopfs.toml:2: [[user]] any: true is wanted, not false");
  EXPECT_EQ(mistake_of("[[user]]\nname = 'no-such-user'"),
            "loopfs.toml:2: [[user]] name: there is no user \"no-such-user\"");
  EXPECT_EQ(mistake_of("[[user]]\ngroup = 'no-such-group'"),
            "loopfs.toml:2: [[user]] group: there is no group \"no-such-group\"");
  EXPECT_EQ(mistake_of("[[user]]\nuid = 4294967295"),
            "loopfs.toml:2: [[user]] uid: a number from 0 to 4294967294 is wanted, not 4294967295");
}

TEST(Config, OtherTablesAreToleratedAndUnknownOnesTold) {
  const Config config = config_of(R"([[program]]
filesystems = 3
[[users]]
any = true
)");
  EXPECT_THAT(config.warnings(), ElementsAre("loopfs.toml:3: the table \"users\" is unknown: ignored"));
}

TEST(Config, FilesAreRead) {
  std::string path = testing::TempDir() + "loopfs.toml.XXXXXX";
  ::close(::mkstemp(path.data()));
  EXPECT_EQ(Config::load(path).value().limits().connections_per_user, 32U);
  std::ofstream(path) << "[limits]\nconnections_per_user = 5\n";
  EXPECT_EQ(Config::load(path).value().limits().connections_per_user, 5U);
  ::unlink(path.c_str());
  EXPECT_EQ(Config::load(path).error().code, ENOENT);
  EXPECT_EQ(Config::load(testing::TempDir()).error().code, EIO);
}

// Found by fuzz/config: the parser's own message had the line's end in it.
TEST(Config, MistakesAreOneLine) {
  for (const char* text :
       {"[limits]\ndevices_per_user = n\n", "\"a\\nb\" = 1\n", "[[program]]\n\"a\\u001bb\" = 1\n"}) {
    const auto parsed = Config::parse(text, "my.toml");
    if (parsed) continue;
    for (const unsigned char c : parsed.error().message()) EXPECT_TRUE(c >= 0x20 && c != 0x7f) << text;
  }
  EXPECT_FALSE(Config::parse("x = n\n", "my.toml"));
}

}  // namespace
}  // namespace loopfs::policy
