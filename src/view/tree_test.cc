#include "view/tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/sysmacros.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "view/layout.h"

namespace loopfs::view {
namespace {

using testing::Contains;
using testing::Not;
using testing::UnorderedElementsAre;

// An engine that has one bound device with one partition, and answers nothing but snapshot().
class OneDevice final : public engine::Engine {
 public:
  void add_observer(engine::Observer*) override {}
  std::vector<engine::NodeId> nodes() override { return {}; }
  std::optional<engine::NodeAttributes> attributes(engine::NodeId) override { return {}; }
  Result<void> change_attributes(engine::NodeId, const engine::AttributeChange&) override { return {}; }
  Result<void> unlink(engine::NodeId) override { return {}; }
  Result<std::unique_ptr<engine::OpenNode>> open(engine::NodeId, const engine::OpenOptions&) override {
    return fail(ENXIO, "open");
  }
  Result<std::unique_ptr<engine::MountHold>> hold_for_mount(engine::NodeId, bool) override {
    return fail(ENXIO, "hold");
  }
  std::vector<engine::DeviceState> snapshot() override {
    engine::DeviceState device;
    device.number = 0;
    device.device = makedev(7, 0);
    device.bound = true;
    device.size = 1 << 20;
    device.partitions = {{.number = 1, .device = makedev(259, 0x80001), .start = 512, .size = 1024}};
    return {device};
  }
  std::optional<engine::DeviceState> state(uint32_t number) override {
    if (number != 0) return std::nullopt;
    return snapshot().front();
  }
};

class TreeTest : public testing::Test {
 protected:
  TreeTest() {
    char pattern[] = "/tmp/view_test.XXXXXX";
    top_ = ::mkdtemp(pattern);
    for (const char* path : {"block", "class/block", "dev/block", "devices/virtual/block/loop0/loop",
                             "devices/virtual/block/loop9", "devices/virtual/block/zram0/queue"}) {
      std::filesystem::create_directories(top_ + "/" + path);
    }
    link("block/loop0", "../devices/virtual/block/loop0");
    link("block/loop9", "../devices/virtual/block/loop9");
    link("block/vda", "../devices/pci0/block/vda");
    link("dev/block/7:9", "../../devices/virtual/block/loop9");
    link("dev/block/254:0", "../../devices/pci0/block/vda");
    write("devices/virtual/block/loop0/loop/backing_file", "/secret\n");
    write("devices/virtual/block/zram0/size", "8\n");
    write("partitions",
          "major minor  #blocks  name\n\n   7        9         10 loop9\n 254        0        100 vda\n");
    link("devices/virtual/block/zram0/escape", "/etc/passwd");
    tree_ = std::make_unique<Tree>(Tree::Options{&engine_, top_, top_, top_ + "/udev"});
  }
  ~TreeTest() override { std::filesystem::remove_all(top_); }

  void link(const std::string& path, const std::string& target) {
    std::filesystem::create_symlink(target, top_ + "/" + path);
  }
  void write(const std::string& path, const std::string& text) { std::ofstream(top_ + "/" + path) << text; }

  std::vector<std::string> names(const std::string& path) {
    std::vector<std::string> names;
    const auto directory = tree_->list(path).value();
    for (const auto& listed : directory) names.push_back(listed.name);
    return names;
  }

  std::string top_;
  OneDevice engine_;
  std::unique_ptr<Tree> tree_;
};

TEST_F(TreeTest, TheHostsLoopDevicesAreHiddenAndTheInstancesShow) {
  EXPECT_THAT(names("block"), UnorderedElementsAre("loop0", "vda"));
  EXPECT_THAT(names("dev_block"), UnorderedElementsAre("7:0", "259:524289", "254:0"));
  EXPECT_THAT(names("virtual_block"), UnorderedElementsAre("loop0", "zram0"));
  EXPECT_EQ(tree_->find("block/loop9").error().code, ENOENT);
  EXPECT_EQ(tree_->find("dev_block/7:9").error().code, ENOENT);
  EXPECT_EQ(tree_->find("virtual_block/loop9").error().code, ENOENT);
  EXPECT_EQ(tree_->find("class_block/loop0p1")->text, "../../devices/virtual/block/loop0/loop0p1");
}

TEST_F(TreeTest, ADeviceOfTheSameNameIsTheInstancesAlone) {
  EXPECT_EQ(*tree_->read("virtual_block/loop0/loop/backing_file"), "\n");
  EXPECT_THAT(names("virtual_block/loop0"), Contains("loop0p1"));
  EXPECT_THAT(names("virtual_block/loop0"), Not(Contains("loop0p1/size")));
  EXPECT_THAT(names("virtual_block/loop0/loop0p1"), Contains("size"));
  EXPECT_EQ(*tree_->read("virtual_block/loop0/loop0p1/size"), "2\n");
  for (const char* path :
       {"virtual_block/loop0/size", "virtual_block/loop0/none", "virtual_block/loop9", "none"}) {
    EXPECT_FALSE(tree_->list(path)) << path;
  }
  for (const char* path :
       {"block/loop0/size", "block/loop0p1", "class_block/loop0p2", "dev_block/7:1", "dev_block/259:524290",
        "dev_block/7:0/size", "virtual_block/loop0p1", "virtual_block/loop0/loop0p2"}) {
    EXPECT_FALSE(tree_->find(path)) << path;
  }
}

TEST_F(TreeTest, EntriesAreListedWithTheirKinds) {
  for (const auto& part : kParts) {
    const auto listed = tree_->list(part.name);
    if (!part.directory) continue;
    for (const auto& entry : *listed) {
      EXPECT_EQ(entry.kind, tree_->find(fmt::format("{}/{}", part.name, entry.name))->kind) << entry.name;
    }
  }
  const auto device = tree_->list("virtual_block/loop0").value();
  for (const auto& entry : device) {
    EXPECT_EQ(entry.kind, tree_->find("virtual_block/loop0/" + entry.name)->kind) << entry.name;
  }
}

TEST_F(TreeTest, OtherDevicesShowAsOnTheHost) {
  EXPECT_EQ(tree_->find("block/vda")->text, "../devices/pci0/block/vda");
  EXPECT_EQ(*tree_->read("virtual_block/zram0/size"), "8\n");
}

TEST_F(TreeTest, NothingLeadsOutOfTheHostsDirectories) {
  EXPECT_FALSE(tree_->read("virtual_block/zram0/escape"));
  EXPECT_FALSE(tree_->read("virtual_block/zram0/../../../../partitions"));
  EXPECT_FALSE(tree_->find("virtual_block/.."));
}

TEST_F(TreeTest, PartitionsAreTheHostsWithoutItsLoopDevicesAndOurs) {
  EXPECT_EQ(*tree_->read("partitions"),
            "major minor  #blocks  name\n\n 254        0        100 vda\n   7        0       1024 loop0\n"
            " 259   524289          1 loop0p1\n");
}

TEST_F(TreeTest, AMissingHostDirectoryIsEmpty) {
  EXPECT_TRUE(names("udev_data").empty());
}

}  // namespace
}  // namespace loopfs::view
