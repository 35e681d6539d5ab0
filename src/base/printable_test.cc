#include "base/printable.h"

#include <gtest/gtest.h>

namespace loopfs::base {
namespace {

TEST(Printable, TextStays) {
  const std::string text = "/a b/\\x41/\u00e4\u20ac\U0001f600";
  EXPECT_EQ(to_utf8(text), text);
  EXPECT_EQ(to_printable(text), text);
  EXPECT_EQ(to_printable(""), "");
}

TEST(Printable, WhatIsNoUtf8) {
  EXPECT_EQ(to_utf8("/\xff/\x80"), "/\\xff/\\x80");
  EXPECT_EQ(to_utf8("\xc3"), "\\xc3");             // cut off
  EXPECT_EQ(to_utf8("\xc3(\xa4"), "\\xc3(\\xa4");  // broken off
  EXPECT_EQ(to_utf8("\xc0\x80"), "\\xc0\\x80");    // overlong
  EXPECT_EQ(to_utf8("\xe0\x80\x80"), "\\xe0\\x80\\x80");
  EXPECT_EQ(to_utf8("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(to_utf8("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
  EXPECT_EQ(to_utf8("a\nb"), "a\nb");
}

TEST(Printable, WhatATerminalWouldObey) {
  EXPECT_EQ(to_printable("a\nb\t\x1b[2J\x7f"), "a\\x0ab\\x09\\x1b[2J\\x7f");
  EXPECT_EQ(to_printable(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(to_printable("\u009b1m"), "\\u009b1m");  // CSI as one character
  EXPECT_EQ(to_printable("\u202egpj.exe"), "\\u202egpj.exe");
  EXPECT_EQ(to_printable("\u2028"), "\\u2028");
}

}  // namespace
}  // namespace loopfs::base
