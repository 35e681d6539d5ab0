#include "cli/manager_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>

namespace loopfs::cli {
namespace {

using testing::HasSubstr;

Json bound_device(int number, const std::string& file) {
  return {{"number", number},
          {"kernel_device", "loop300000"},
          {"device", 1227884512},
          {"size", 1048576},
          {"offset", 512},
          {"sizelimit", 0},
          {"read_only", true},
          {"autoclear", false},
          {"direct_io", false},
          {"backing_file", file},
          {"partitions", Json::array()}};
}

Json instance_with(Json devices) {
  return {{"id", 3},
          {"owner", 1000},
          {"root_uid", 100000},
          {"user_namespace", 4026531837},
          {"max", 4},
          {"devices", std::move(devices)}};
}

TEST(ManagerText, Table) {
  const Json free = {{"number", 1}, {"size", 0}};
  const Json instance = instance_with(Json::array({bound_device(0, "/a b"), free}));
  EXPECT_EQ(instances_table({instance}, false),
            "INSTANCE OWNER DEVICE KERNEL-DEVICE    SIZE OFFSET RO AUTOCLEAR DIO BACK-FILE\n"
            "       3  1000 loop0  loop300000    1048576    512  1         0   0 /a b\n");
  EXPECT_THAT(instances_table({instance}, true),
              HasSubstr("       3  1000 loop1  -                   -      -  -         -   - -\n"));
}

TEST(ManagerText, AnInstanceWithoutFilesHasALine) {
  EXPECT_EQ(instances_table({instance_with(Json::array({{{"number", 0}}}))}, false),
            "INSTANCE OWNER DEVICE KERNEL-DEVICE SIZE OFFSET RO AUTOCLEAR DIO BACK-FILE\n"
            "       3  1000 -      -                -      -  -         -   - -\n");
  EXPECT_THAT(instances_table({}, false), testing::EndsWith("BACK-FILE\n"));
}

TEST(ManagerText, NamesAreMadePrintable) {
  const std::string hostile = "/x\n\x1b[2J\u202e\\xff";
  const Json instance = instance_with(Json::array({bound_device(0, hostile)}));
  EXPECT_THAT(instances_table({instance}, false), HasSubstr(" /x\\x0a\\x1b[2J\\u202e\\xff\n"));
  EXPECT_THAT(instance_text(instance), HasSubstr("backing file: /x\\x0a\\x1b[2J\\u202e\\xff\n"));
  EXPECT_THAT(json_text({{"a", "\x7f\u009b"}}), testing::Eq(R"({"a":"\u007f\u009b"})"));
}

TEST(ManagerText, WhatIsMissingOrOddIsShownAsSuch) {
  EXPECT_THAT(instances_table({Json::object(), Json(5)}, true), HasSubstr("       -     - -  "));
  EXPECT_THAT(instance_text(Json::object()), HasSubstr("instance: -\n"));
  EXPECT_THAT(event_text(Json::array()), HasSubstr(" - instance -"));
  EXPECT_THAT(limits_table(nullptr), testing::StartsWith("KIND"));
}

TEST(ManagerText, Instance) {
  Json device = bound_device(2, "/a");
  device["partitions"].push_back(
      {{"number", 1}, {"device", 66304}, {"start", 1024}, {"size", 2048}, {"label", "root"}});
  const std::string text = instance_text(instance_with(Json::array({Json{{"number", 0}}, device})));
  EXPECT_THAT(text,
              testing::StartsWith("instance: 3\nowner: 1000\nroot uid: 100000\nuser namespace: 4026531837\n"
                                  "most devices: 4\ndevices: 2, with a file 1\nloop0: free\nloop2:\n"));
  EXPECT_THAT(text, HasSubstr("  kernel device: loop300000 (7:300000)\n"));
  EXPECT_THAT(
      text,
      HasSubstr(
          "  partition loop2p1 (259:0)\n    start: 1024\n    size: 2048\n    uuid: -\n    label: root\n"));
}

TEST(ManagerText, Event) {
  ::setenv("TZ", "UTC0", 1);
  ::tzset();
  Json event = {{"what", "bind"},
                {"instance", 3},
                {"device", 0},
                {"kernel_device", "loop300000"},
                {"microseconds", 1000000000000042},
                {"lost", 0}};
  EXPECT_EQ(event_text(event), "2001-09-09T01:46:40.000042 bind instance 3 loop0 loop300000");
  event["lost"] = 12;
  EXPECT_EQ(event_text(event),
            "2001-09-09T01:46:40.000042 lost 12 events\n2001-09-09T01:46:40.000042 bind instance 3 loop0 "
            "loop300000");
  EXPECT_EQ(event_text({{"what", "mount"}, {"instance", 4}, {"microseconds", 0}}),
            "1970-01-01T00:00:00.000000 mount instance 4");
}

TEST(ManagerText, Limits) {
  const Json limits = {
      {"devices", Json::array({{{"user_namespace", 4026531837}, {"uid", 0}, {"used", 2}, {"limit", 255}}})},
      {"instances", Json::array({{{"user_namespace", 4026531837}, {"uid", 0}, {"used", 1}}})}};
  EXPECT_EQ(limits_table(limits),
            "KIND      USER-NAMESPACE UID USED LIMIT\n"
            "devices       4026531837   0    2   255\n"
            "instances     4026531837   0    1  none\n");
}

}  // namespace
}  // namespace loopfs::cli
