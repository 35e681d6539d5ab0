#include "sandbox/control.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "sys/message.h"

namespace loopfs::sandbox {
namespace {

TEST(Control, CarriesANoteWhole) {
  auto ends = sys::socket_pair();
  ASSERT_TRUE(ends);
  const int fds[] = {ends->first.get()};
  ASSERT_TRUE(send_note(ends->first.get(), Act::kTree, -5, fds, 1ull << 40, "text"));
  auto note = receive_note(ends->second.get());
  ASSERT_TRUE(note && *note);
  EXPECT_EQ((*note)->act, Act::kTree);
  EXPECT_EQ((*note)->value, -5);
  EXPECT_EQ((*note)->device, 1ull << 40);
  EXPECT_EQ((*note)->text, "text");
  EXPECT_EQ((*note)->fds.size(), 1u);
}

TEST(Control, CutsALongTextAndRefusesAShortNote) {
  auto ends = sys::socket_pair();
  ASSERT_TRUE(ends);
  ASSERT_TRUE(send_failure(ends->first.get(), Error{ENOENT, std::string(100000, 'x')}));
  auto note = receive_note(ends->second.get());
  ASSERT_TRUE(note && *note);
  EXPECT_EQ((*note)->value, ENOENT);
  EXPECT_EQ((*note)->text.size(), 4096u);
  ASSERT_EQ(::write(ends->first.get(), "x", 1), 1);
  EXPECT_EQ(receive_note(ends->second.get()).error().code, EPROTO);
  ends->first.reset();
  note = receive_note(ends->second.get());
  ASSERT_TRUE(note);
  EXPECT_FALSE(*note);
}

}  // namespace
}  // namespace loopfs::sandbox
