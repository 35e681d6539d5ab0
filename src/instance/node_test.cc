#include "instance/node.h"

#include <gtest/gtest.h>

namespace loopfs::instance {
namespace {

TEST(Node, NamesAndParsingAreInverse) {
  for (const auto& id : {NodeId::control(), NodeId::of_device(0), NodeId::of_device(4095),
                         NodeId::of_partition(0, 1), NodeId::of_partition(12, 255)}) {
    EXPECT_EQ(parse_node_name(id.name()), id) << id.name();
  }
  EXPECT_EQ(NodeId::of_partition(7, 12).name(), "loop7p12");
}

TEST(Node, OtherNamesAreNone) {
  for (const char* name :
       {"",          "loop",     "loop-",           "loop-control2", "loop00",  "loop01",   "loop-1",
        "loop+1",    "loop4096", "loop99999999999", "loop1p",        "loop1p0", "loop1p01", "loop1p256",
        "loop1p1p1", "loop1q1",  "loopp1",          "loop1 ",        " loop1",  "xloop1",   "LOOP1"}) {
    EXPECT_FALSE(parse_node_name(name)) << name;
  }
}

}  // namespace
}  // namespace loopfs::instance
