#include "view/device_entries.h"

#include <gtest/gtest.h>
#include <sys/sysmacros.h>

namespace loopfs::view {
namespace {

engine::DeviceState bound_device() {
  engine::DeviceState device;
  device.number = 3;
  device.device = makedev(7, 3);
  device.bound = true;
  device.partscan = true;
  device.size = 64 << 20;
  device.offset = 512;
  device.disk_sequence = 67;
  device.statistics = {1, 0, 8, 3, 2, 0, 123456789, 4};
  device.backing_file = "/images/a.img";
  device.partitions = {{.number = 2,
                        .device = makedev(259, 0x80000 + 3 * 256 + 2),
                        .start = 1 << 20,
                        .size = 10 << 20,
                        .uuid = "1234",
                        .label = "root"}};
  return device;
}

TEST(DeviceEntries, ABoundDeviceHasALoopDirectoryAsSysfsWritesIt) {
  const Entries entries = device_entries(bound_device());
  EXPECT_EQ(entries.at("dev").text, "7:3\n");
  EXPECT_EQ(entries.at("size").text, "131072\n");
  EXPECT_EQ(entries.at("loop/backing_file").text, "/images/a.img\n");
  EXPECT_EQ(entries.at("loop/offset").text, "512\n");
  EXPECT_EQ(entries.at("loop/partscan").text, "1\n");
  EXPECT_EQ(entries.at("loop/autoclear").text, "0\n");
  EXPECT_EQ(
      entries.at("stat").text,
      "       1        0        8        3        2        0 123456789        4        0        0        0"
      "        0        0        0        0        0        0\n");
  EXPECT_EQ(entries.at("uevent").text, "MAJOR=7\nMINOR=3\nDEVNAME=loop3\nDEVTYPE=disk\nDISKSEQ=67\n");
  EXPECT_EQ(entries.at("subsystem"), Entry::link("../../../../class/block"));
}

TEST(DeviceEntries, AFreeDeviceHasNone) {
  const Entries entries = device_entries({.number = 0, .device = makedev(7, 0)});
  EXPECT_FALSE(entries.contains("loop"));
  EXPECT_FALSE(entries.contains("loop/backing_file"));
  EXPECT_EQ(entries.at("size").text, "0\n");
}

TEST(DeviceEntries, APartitionIsADirectoryOfItsDevice) {
  const Entries entries = device_entries(bound_device());
  EXPECT_EQ(entries.at("loop3p2"), Entry::directory());
  EXPECT_EQ(entries.at("loop3p2/partition").text, "2\n");
  EXPECT_EQ(entries.at("loop3p2/start").text, "2048\n");
  EXPECT_EQ(entries.at("loop3p2/size").text, "20480\n");
  EXPECT_NE(entries.at("loop3p2/uevent").text.find("PARTN=2\nPARTNAME=root\nPARTUUID=1234\n"),
            std::string::npos);
}

TEST(PartitionLines, AreTheKernelsColumns) {
  EXPECT_EQ(partition_lines(bound_device()),
            "   7        3      65536 loop3\n"
            " 259   525058      10240 loop3p2\n");
  EXPECT_EQ(partition_lines({.number = 0}), "");
}

}  // namespace
}  // namespace loopfs::view
