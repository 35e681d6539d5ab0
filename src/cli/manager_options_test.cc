#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/options.h"

namespace loopfs::cli {
namespace {

using testing::HasSubstr;
using Words = std::vector<std::string>;

template <typename Options>
Options parsed(const Words& words) {
  auto line = parse_command_line(words);
  if (auto* message = std::get_if<Message>(&line)) ADD_FAILURE() << message->text;
  auto* options = std::get_if<Options>(&line);
  if (!options) ADD_FAILURE() << "another command";
  return options ? *options : Options{};
}

void expect_mistake(const Words& words, const std::string& about) {
  auto line = parse_command_line(words);
  const auto* message = std::get_if<Message>(&line);
  ASSERT_TRUE(message) << "accepted: " << testing::PrintToString(words);
  EXPECT_EQ(message->status, 2);
  EXPECT_THAT(message->text, testing::StartsWith("loopfs: "));
  EXPECT_THAT(message->text, HasSubstr(about));
  EXPECT_EQ(message->text.find('\n'), std::string::npos);
}

TEST(ManagerOptions, Asking) {
  const auto list = parsed<ListOptions>({"ls"});
  EXPECT_EQ(list.socket, "/run/loopfs/io.loopfs.Manager");
  EXPECT_FALSE(list.json || list.all);
  const auto all = parsed<ListOptions>({"ls", "--json", "-a", "--socket=/s"});
  EXPECT_TRUE(all.json && all.all);
  EXPECT_EQ(all.socket, "/s");
  EXPECT_EQ(parsed<InspectOptions>({"inspect", "7"}).instance, 7U);
  EXPECT_TRUE(parsed<EventsOptions>({"events", "--json"}).json);
  expect_mistake({"ls", "x"}, "x");
  expect_mistake({"inspect"}, "instance");
  expect_mistake({"inspect", "seven"}, "seven");
  expect_mistake({"inspect", "-1"}, "-1");
  expect_mistake({"events", "--bogus"}, "--bogus");
}

TEST(ManagerOptions, Limit) {
  EXPECT_FALSE(parsed<LimitOptions>({"limit", "--json"}).uid);
  const auto set = parsed<LimitOptions>({"limit", "--uid", "1000", "5"});
  EXPECT_EQ(set.kind, "devices");
  EXPECT_EQ(set.uid, 1000U);
  EXPECT_EQ(set.limit, 5U);
  const auto cleared = parsed<LimitOptions>({"limit", "--kind=instances", "default", "--uid=0"});
  EXPECT_EQ(cleared.kind, "instances");
  EXPECT_EQ(cleared.uid, 0U);
  EXPECT_FALSE(cleared.limit);
  EXPECT_EQ(parsed<LimitOptions>({"limit", "--uid", "0", "0"}).limit, 0U);
  expect_mistake({"limit", "5"}, "--uid");
  expect_mistake({"limit", "--uid", "5"}, "default");
  expect_mistake({"limit", "--kind", "devices"}, "--uid");
  expect_mistake({"limit", "--kind", "mounts", "--uid", "1", "2"}, "--kind");
  expect_mistake({"limit", "--uid", "4294967295", "2"}, "--uid");
  expect_mistake({"limit", "--uid", "1", "many"}, "'many'");
  expect_mistake({"limit", "--uid", "1", "4294967296"}, "4294967296");
}

TEST(ManagerOptions, Attach) {
  const auto plain = parsed<AttachOptions>({"attach", "a.img"});
  EXPECT_EQ(plain.file, "a.img");
  EXPECT_EQ(plain.instance, default_instance());
  EXPECT_EQ(plain.offset + plain.sizelimit + plain.block_size, 0U);
  EXPECT_FALSE(plain.read_only || plain.partscan || plain.direct_io.has_value());
  const auto full =
      parsed<AttachOptions>({"attach", "--instance", "/i", "--offset=1M", "--sizelimit", "512", "--read-only",
                             "--partscan", "--direct-io", "on", "--block-size", "4K", "--", "-odd"});
  EXPECT_EQ(full.instance, "/i");
  EXPECT_EQ(full.offset, 1U << 20);
  EXPECT_EQ(full.sizelimit, 512U);
  EXPECT_EQ(full.block_size, 4096U);
  EXPECT_TRUE(full.read_only && full.partscan);
  EXPECT_EQ(full.direct_io, true);
  EXPECT_EQ(full.file, "-odd");
  EXPECT_EQ(parsed<AttachOptions>({"attach", "--direct-io=off", "a"}).direct_io, false);
  expect_mistake({"attach"}, "file");
  expect_mistake({"attach", ""}, "no file");
  expect_mistake({"attach", "a", "b"}, "b");
  expect_mistake({"attach", "--offset", "-1", "a"}, "-1");
  expect_mistake({"attach", "--offset", "x", "a"}, "x");
  expect_mistake({"attach", "--direct-io", "maybe", "a"}, "--direct-io");
}

TEST(ManagerOptions, Detach) {
  EXPECT_EQ(device_path(parsed<DetachOptions>({"detach", "loop3"})), default_instance() + "/loop3");
  EXPECT_EQ(device_path(parsed<DetachOptions>({"detach", "loop3", "--instance=/i/"})), "/i/loop3");
  EXPECT_EQ(device_path(parsed<DetachOptions>({"detach", "./loop3"})), "./loop3");
  EXPECT_EQ(device_path(parsed<DetachOptions>({"detach", "a.img"})), "a.img");
  expect_mistake({"detach"}, "device");
  expect_mistake({"detach", ""}, "no device");
}

TEST(ManagerOptions, NamesOfDevices) {
  EXPECT_EQ(number_of_device("loop0"), 0U);
  EXPECT_EQ(number_of_device("loop4095"), 4095U);
  for (const char* name :
       {"", "loop", "loop-control", "loop1p1", "loop01", "loop+1", "loop4294967296", "xloop1"}) {
    EXPECT_FALSE(number_of_device(name)) << name;
  }
}

TEST(ManagerOptions, Help) {
  for (const char* command : {"ls", "inspect", "events", "limit", "attach", "detach"}) {
    auto line = parse_command_line({command, "--help"});
    const auto* message = std::get_if<Message>(&line);
    ASSERT_TRUE(message) << command;
    EXPECT_EQ(message->status, 0);
    EXPECT_THAT(message->text, HasSubstr(std::string("Usage: loopfs ") + command));
  }
}

}  // namespace
}  // namespace loopfs::cli
