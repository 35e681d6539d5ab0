#include "mounter/protocol.h"

#include <gtest/gtest.h>

namespace loopfs::mounter {
namespace {

TEST(Protocol, ARequestSurvivesTheWire) {
  Request request;
  request.operation = Operation::kMount;
  request.path = "/mnt/\xff\xfe";  // no UTF-8
  request.options = {"ro", "offset=512"};
  request.size = uint64_t{1} << 40;
  const auto back = decode_request(encode(request));
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(back->operation, Operation::kMount);
  EXPECT_EQ(back->path, request.path);
  EXPECT_EQ(back->options, request.options);
  EXPECT_EQ(back->size, request.size);
}

TEST(Protocol, AReplySurvivesTheWire) {
  const auto back = decode_reply(encode(Reply{.error = EBUSY, .line = "busy", .device = 42}));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->error, EBUSY);
  EXPECT_EQ(back->device, 42u);
}

TEST(Protocol, RubbishIsRefused) {
  const std::byte rubbish[] = {std::byte{0xc1}, std::byte{0}};
  EXPECT_FALSE(decode_request(rubbish));
  EXPECT_FALSE(decode_reply({}));
}

// Found by fuzz/supervisor: a worker that was taken over could have the process that it answers run out of stack (not in
// the release build, whose frames are small).
TEST(Protocol, WhatIsNestedDeeplyIsRefused) {
  const std::vector<std::byte> arrays(60000, std::byte{0x91});  // each an array with one element
  EXPECT_EQ(decode_request(arrays).error().code, EBADMSG);
  EXPECT_EQ(decode_reply(arrays).error().code, EBADMSG);
}

}  // namespace
}  // namespace loopfs::mounter
