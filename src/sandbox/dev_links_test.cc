#include "sandbox/dev_links.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace loopfs::sandbox {
namespace {

namespace fs = std::filesystem;
using engine::NodeId;

class DevLinksTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "dev_links.XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    fd_.reset(::open(name.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  void TearDown() override { fs::remove_all(directory_); }

  fs::path directory_;
  Fd fd_;
};

TEST_F(DevLinksTest, FollowsTheNodes) {
  DevLinks links(fd_.get());
  for (const NodeId id : {NodeId::control(), NodeId::of_device(3), NodeId::of_partition(3, 1)}) {
    links.node_added(id);
    EXPECT_EQ(fs::read_symlink(directory_ / id.name()), "loopfs/" + id.name());
    links.node_added(id);
    links.node_removed(id);
    EXPECT_FALSE(fs::is_symlink(directory_ / id.name()));
    links.node_removed(id);
  }
}

TEST_F(DevLinksTest, LeavesWhatTheSandboxPutThere) {
  DevLinks links(fd_.get());
  std::ofstream(directory_ / "loop1") << "mine";
  fs::create_symlink("elsewhere", directory_ / "loop2");
  for (const uint32_t number : {1u, 2u}) {
    links.node_added(NodeId::of_device(number));
    links.node_removed(NodeId::of_device(number));
  }
  EXPECT_EQ(fs::file_size(directory_ / "loop1"), 4u);
  EXPECT_EQ(fs::read_symlink(directory_ / "loop2"), "elsewhere");
}

}  // namespace
}  // namespace loopfs::sandbox
