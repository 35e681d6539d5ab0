#include "view/view_server.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "engine/user_engine.h"
#include "fusefs/fake_kernel.h"
#include "fusefs/slow_threads.h"
#include "view/layout.h"

namespace loopfs::view {
namespace {

using fusefs::FakeKernel;

// A server with two threads, each with its own kernel to serve.
class ViewServerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::vector<Fd> channels;
    channels.push_back(kernel_.take_channel());
    channels.push_back(other_.take_channel());
    auto made = ViewServer::create({.engine = engine_.get(), .channels = std::move(channels)});
    ASSERT_TRUE(made);
    server_ = std::move(*made);
    fusefs::with_slow_threads([&] { server_->start(); });
    ASSERT_EQ(kernel_.begin().error, 0);
  }

  const fusefs::OneProcessor one_;
  std::shared_ptr<engine::UserEngine> engine_ = engine::UserEngine::create({.initial_devices = 1});
  FakeKernel kernel_, other_;
  std::unique_ptr<ViewServer> server_;
};

TEST_F(ViewServerTest, ListsItsPartsFromAnyPlaceOn) {
  const auto opened = kernel_.ask(FUSE_OPENDIR, FUSE_ROOT_ID, fuse_open_in{});
  const uint64_t handle = opened.as<fuse_open_out>().fh;
  std::vector<std::string> names;
  for (uint64_t place = 0;;) {
    const auto answer =
        kernel_.ask(FUSE_READDIR, FUSE_ROOT_ID, fuse_read_in{.fh = handle, .offset = place, .size = 64});
    if (answer.bytes.empty()) break;
    fuse_dirent entry{};
    std::memcpy(&entry, answer.bytes.data(), FUSE_NAME_OFFSET);
    names.emplace_back(reinterpret_cast<const char*>(answer.bytes.data() + FUSE_NAME_OFFSET), entry.namelen);
    ASSERT_NE(entry.off, place);
    place = entry.off;
  }
  EXPECT_EQ(kernel_.ask(FUSE_RELEASEDIR, FUSE_ROOT_ID, fuse_release_in{.fh = handle}).error, 0);
  std::vector<std::string> wanted{".", ".."};
  for (const auto& part : kParts) wanted.emplace_back(part.name);
  EXPECT_EQ(names, wanted);
}

// The kernel may close a file as soon as it has the answer, while the thread that gave it is still on its way back from
// write(2). A sanitizer looks at what was written then, so this shows something under ASan and TSan only.
TEST_F(ViewServerTest, AFileIsClosedAsSoonAsItIsRead) {
  const auto file = kernel_.lookup("partitions");
  ASSERT_EQ(file.error, 0);
  const uint64_t inode = file.as<fuse_entry_out>().nodeid;
  for (int round = 0; round < 50; ++round) {
    const uint64_t handle = kernel_.ask(FUSE_OPEN, inode, fuse_open_in{}).as<fuse_open_out>().fh;
    const auto text = kernel_.ask(FUSE_READ, inode, fuse_read_in{.fh = handle, .size = 4096});
    EXPECT_EQ(other_.ask(FUSE_RELEASE, inode, fuse_release_in{.fh = handle}).error, 0);
    ASSERT_FALSE(text.bytes.empty());
  }
}

}  // namespace
}  // namespace loopfs::view
