#include "varlink/json.h"

#include <gtest/gtest.h>

namespace loopfs::varlink {
namespace {

std::string nested(size_t depth) {
  std::string text = R"({"a":)";
  text.append(depth, '[').append(depth, ']');
  return text + "}";
}

TEST(Json, ReadsAnObject) {
  auto json = parse_object(R"({"a": [1, "ü"], "b": null})");
  ASSERT_TRUE(json);
  EXPECT_EQ((*json)["a"][1], "ü");
}

TEST(Json, RefusesWhatIsNoObject) {
  for (std::string_view text : {"", " ", "1", "[]", "null", "\"a\"", "{", "{}{}", "{} x", "{\"a\":1e999}",
                                "{a:1}", "{\"a\":1,}", "{\"a\":NaN}", "{/**/}", "{\"a\":\"\xff\"}",
                                "{\"\xc0\x80\":1}", "{\"a\":\"\\ud800\"}", "{\"a\":\"\n\"}"}) {
    EXPECT_EQ(parse_object(text).error().code, EBADMSG) << text;
  }
}

TEST(Json, RefusesNulInStringsAndKeys) {
  EXPECT_FALSE(parse_object(R"({"a":"/etc\u0000/x"})"));
  EXPECT_FALSE(parse_object(R"({"a":{"\u0000":1}})"));
  EXPECT_FALSE(parse_object(R"({"a":[["\u0000"]]})"));
}

TEST(Json, RefusesDeepNestingAndDoesNotCrash) {
  EXPECT_TRUE(parse_object(nested(kMaxDepth - 1)));
  EXPECT_FALSE(parse_object(nested(kMaxDepth)));
  EXPECT_FALSE(parse_object(nested(1000000)));
  EXPECT_FALSE(parse_object(std::string(1000000, '[')));
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += R"({"a":)";
  EXPECT_FALSE(parse_object(objects));
}

TEST(Json, WritesOnlyUtf8) {
  const Json json = {{"path", "\xff"}};
  EXPECT_EQ(serialize(json).error().code, EILSEQ);
  EXPECT_EQ(serialize(json, NotUtf8::kReplace).value(), "{\"path\":\"\xef\xbf\xbd\"}");
}

}  // namespace
}  // namespace loopfs::varlink
