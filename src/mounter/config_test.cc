#include "mounter/config.h"

#include <gtest/gtest.h>

namespace loopfs::mounter {
namespace {

TEST(ProgramTable, TheBuiltInTableKnowsTheUsualFileSystems) {
  const ProgramTable table = ProgramTable::built_in();
  for (const char* type :
       {"ext2", "ext3", "ext4", "squashfs", "erofs", "vfat", "msdos", "exfat", "ntfs", "iso9660"}) {
    const Program* program = table.find(type);
    ASSERT_NE(program, nullptr) << type;
    EXPECT_FALSE(program->package.empty()) << type;
  }
  EXPECT_EQ(table.find("xfs"), nullptr);
}

TEST(ProgramTable, TheUsersEntriesGoFirst) {
  const auto table = ProgramTable::parse(R"(
[[program]]
filesystems = ["ext4", "xfs"]
command = ["/bin/true", "{image}", "{mountpoint}"]
package = "mine"
)",
                                         "my.toml");
  ASSERT_TRUE(table) << table.error().message();
  EXPECT_EQ(table->find("ext4")->package, "mine");
  EXPECT_EQ(table->find("xfs")->package, "mine");
  EXPECT_EQ(table->find("ext3")->package, "fuse2fs");
}

TEST(ProgramTable, ANotInstalledEntryIsPassedOverForAnInstalledOne) {
  const auto table = ProgramTable::parse(R"(
[[program]]
filesystems = ["xfs"]
command = ["/nonexistent/program", "{image}", "{mountpoint}"]
package = "first"
[[program]]
filesystems = ["xfs"]
command = ["/bin/true", "{image}", "{mountpoint}"]
package = "second"
)",
                                         "my.toml");
  ASSERT_TRUE(table);
  EXPECT_EQ(table->find("xfs")->package, "second");
}

TEST(ProgramTable, MistakesAreNamedWithTheirPlace) {
  const auto message = [](const char* text) {
    return ProgramTable::parse(text, "my.toml").error().message();
  };
  EXPECT_NE(message("[[program]\n").find("my.toml line 1"), std::string::npos);
  EXPECT_NE(message("colour = 1\n").find("unknown key 'colour'"), std::string::npos);
  EXPECT_NE(message("[[program]]\nfilesystem = ['x']\n").find("unknown key 'filesystem'"), std::string::npos);
  EXPECT_NE(message("[[program]]\nfilesystems = 'x'\n").find("wrong type"), std::string::npos);
  EXPECT_NE(message("[[program]]\nfilesystems = ['x']\ncommand = ['y']\n").find("{image}"),
            std::string::npos);
}

TEST(ProgramTable, TheTablesOfTheDaemonAreNotItsBusiness) {
  const auto table = ProgramTable::parse(R"(
[daemon]
socket = "/run/loopfs/other"
[limits]
devices_per_user = 10
[mount]
default = "fuse"
[[user]]
any = true
allow = false
[[program]]
filesystems = ["ext4"]
command = ["/bin/true", "{image}", "{mountpoint}"]
package = "mine"
)",
                                         "my.toml");
  ASSERT_TRUE(table) << table.error().message();
  EXPECT_EQ(table->find("ext4")->package, "mine");
}

TEST(ProgramTable, AMissingFileIsAnErrorIfItWasNamed) {
  EXPECT_EQ(ProgramTable::load("/nonexistent/loopfs.toml").error().code, ENOENT);
}

// Found by fuzz/config: the parser's own message had the line's end in it.
TEST(ProgramTable, MistakesAreOneLine) {
  for (const char* text :
       {"[limits]\ndevices_per_user = n\n", "\"a\\nb\" = 1\n", "[[program]]\n\"a\\u001bb\" = 1\n"}) {
    const auto parsed = ProgramTable::parse(text, "my.toml");
    if (parsed) continue;
    for (const unsigned char c : parsed.error().message()) EXPECT_TRUE(c >= 0x20 && c != 0x7f) << text;
  }
  EXPECT_FALSE(ProgramTable::parse("x = n\n", "my.toml"));
}

}  // namespace
}  // namespace loopfs::mounter
