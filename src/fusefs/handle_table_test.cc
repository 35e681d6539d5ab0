#include "fusefs/handle_table.h"

#include <gtest/gtest.h>

#include "engine/user_engine.h"

namespace loopfs::fusefs {
namespace {

using engine::NodeId;

TEST(HandleNumber, SaysAllThatAnotherServerNeeds) {
  const NodeId nodes[] = {NodeId::control(), NodeId::of_device(0),
                          NodeId::of_device(instance::kMostDevices - 1), NodeId::of_partition(7, 255)};
  for (const NodeId& node : nodes) {
    const engine::OpenOptions options{.read = true, .write = node.device == 7, .exclusive = node.device == 0};
    const uint64_t number = encode_handle({node, options}, UINT32_MAX);
    const auto back = decode_handle(number);
    ASSERT_TRUE(back) << node.name();
    EXPECT_EQ(back->node, node);
    EXPECT_EQ(back->options.read, options.read);
    EXPECT_EQ(back->options.write, options.write);
    EXPECT_EQ(back->options.exclusive, options.exclusive);
    EXPECT_EQ(back->options.handle, number);
  }
  EXPECT_NE(encode_handle({nodes[1], {}}, 1), encode_handle({nodes[1], {}}, 2));
  EXPECT_FALSE(decode_handle(UINT64_MAX));
}

TEST(HandleTable, MakesTheHandlesOfAnEarlierServerAnew) {
  const auto engine = engine::UserEngine::create({.initial_devices = 1});
  uint64_t number = 0;
  {
    HandleTable earlier(engine.get(), 5);
    const auto opened = earlier.open(NodeId::of_device(0), {.read = true});
    ASSERT_TRUE(opened);
    number = *opened;
  }
  HandleTable table(engine.get(), 5);
  auto node = table.find(number);
  ASSERT_TRUE(node);
  EXPECT_EQ(node->id(), NodeId::of_device(0));
  EXPECT_EQ(table.find(number), node);
  // The same serial again, which is in use.
  const auto another = table.open(NodeId::of_device(0), {.read = true});
  ASSERT_TRUE(another);
  EXPECT_NE(*another, number);
  EXPECT_FALSE(table.find(encode_handle({NodeId::of_device(9), {}}, 1)));
  node.reset();
  table.close(number);
}

}  // namespace
}  // namespace loopfs::fusefs
