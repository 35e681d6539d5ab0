#include "cli/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace loopfs::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Words = std::vector<std::string>;

RunOptions run_of(const Words& words) {
  auto parsed = parse_command_line(words);
  if (auto* message = std::get_if<Message>(&parsed)) ADD_FAILURE() << message->text;
  auto* run = std::get_if<RunOptions>(&parsed);
  return run ? *run : RunOptions{};
}

std::string mistake_of(const Words& words) {
  auto parsed = parse_command_line(words);
  auto* message = std::get_if<Message>(&parsed);
  if (!message) return "(accepted)";
  EXPECT_EQ(message->status, 2);
  EXPECT_EQ(message->text.find('\n'), std::string::npos) << message->text;
  EXPECT_THAT(message->text, testing::StartsWith("loopfs: "));
  return message->text;
}

std::string text_of(const Words& words) {
  auto parsed = parse_command_line(words);
  auto* message = std::get_if<Message>(&parsed);
  if (!message) return "(no text)";
  EXPECT_EQ(message->status, 0);
  return message->text;
}

TEST(Options, CommandFollowsOptions) {
  const RunOptions run = run_of({"run", "--max", "5", "-q", "ls", "-l", "--max", "7"});
  EXPECT_THAT(run.command, ElementsAre("ls", "-l", "--max", "7"));
  EXPECT_EQ(run.max, 5U);
  EXPECT_TRUE(run.quiet);
  EXPECT_EQ(run.engine, "user");
}

TEST(Options, OptionsOfTheCommandAreItsOwn) {
  EXPECT_THAT(run_of({"run", "ls", "--help"}).command, ElementsAre("ls", "--help"));
  EXPECT_THAT(run_of({"run", "ls", "--", "-x"}).command, ElementsAre("ls", "--", "-x"));
  EXPECT_THAT(run_of({"run", "run", "doctor"}).command, ElementsAre("run", "doctor"));
  EXPECT_THAT(run_of({"run", "doctor", "++", "--version"}).command, ElementsAre("doctor", "++", "--version"));
}

TEST(Options, DashDashEndsOptions) {
  EXPECT_THAT(run_of({"run", "--", "-odd"}).command, ElementsAre("-odd"));
  EXPECT_THAT(run_of({"run", "-q", "--", "--", "x"}).command, ElementsAre("--", "x"));
}

TEST(Options, ValuesInBothForms) {
  const RunOptions run =
      run_of({"run", "--max=3", "--root=/r", "--config", "/c", "--engine=user", "--", "x"});
  EXPECT_EQ(run.max, 3U);
  EXPECT_EQ(run.root, "/r");
  EXPECT_EQ(run.config, "/c");
  EXPECT_THAT(run.command, ElementsAre("x"));
}

TEST(Options, Binds) {
  const RunOptions run = run_of({"run", "--bind", "/a", "--bind", "/b:/c", "--bind=/d/../e:/f", "true"});
  ASSERT_EQ(run.binds.size(), 3U);
  EXPECT_EQ(run.binds[0].source, "/a");
  EXPECT_EQ(run.binds[0].destination, "/a");
  EXPECT_EQ(run.binds[1].source, "/b");
  EXPECT_EQ(run.binds[1].destination, "/c");
  EXPECT_EQ(run.binds[2].source, "/e");
  EXPECT_THAT(run.command, ElementsAre("true"));
  EXPECT_THAT(mistake_of({"run", "--bind", ":", "true"}), HasSubstr("--bind"));
  EXPECT_THAT(mistake_of({"run", "--bind", "/a:", "true"}), HasSubstr("--bind"));
}

TEST(Options, Mistakes) {
  EXPECT_THAT(mistake_of({"run"}), HasSubstr("no command"));
  EXPECT_THAT(mistake_of({"run", "--"}), HasSubstr("no command"));
  EXPECT_THAT(mistake_of({"run", "-q"}), HasSubstr("no command"));
  EXPECT_THAT(mistake_of({"run", ""}), HasSubstr("no command"));
  EXPECT_THAT(mistake_of({"run", "--bogus", "ls"}), HasSubstr("--bogus"));
  EXPECT_THAT(mistake_of({"run", "--max", "0", "ls"}), HasSubstr("--max"));
  EXPECT_THAT(mistake_of({"run", "--max", "4097", "ls"}), HasSubstr("--max"));
  EXPECT_THAT(mistake_of({"run", "--max", "many", "ls"}), HasSubstr("--max"));
  EXPECT_THAT(mistake_of({"run", "--max"}), HasSubstr("--max"));
  EXPECT_THAT(mistake_of({"run", "--root", "", "ls"}), HasSubstr("--root"));
  EXPECT_THAT(mistake_of({"run", "--engine", "warp", "ls"}), HasSubstr("--engine"));
  EXPECT_THAT(mistake_of({}), HasSubstr("subcommand"));
  EXPECT_THAT(mistake_of({"walk"}), HasSubstr("loopfs --help"));
  EXPECT_THAT(mistake_of({"doctor", "x"}), HasSubstr("x"));
}

TEST(Options, Texts) {
  EXPECT_EQ(text_of({"--version"}), "loopfs " LOOPFS_VERSION);
  EXPECT_THAT(text_of({"--help"}), HasSubstr("doctor"));
  EXPECT_THAT(text_of({"run", "--help"}), HasSubstr("--bind"));
  EXPECT_THAT(text_of({"run", "--help"}), HasSubstr("Usage: loopfs run [OPTIONS] [--] COMMAND"));
  EXPECT_THAT(text_of({"doctor", "--help"}), HasSubstr("Usage: loopfs doctor"));
  EXPECT_THAT(text_of({"doctor", "--help"}), HasSubstr("--config"));
}

TEST(Options, Doctor) {
  EXPECT_TRUE(std::holds_alternative<DoctorOptions>(parse_command_line({"doctor"})));
  auto parsed = parse_command_line({"doctor", "--config", "/c"});
  ASSERT_TRUE(std::holds_alternative<DoctorOptions>(parsed));
  EXPECT_EQ(std::get<DoctorOptions>(parsed).config, "/c");
}

}  // namespace
}  // namespace loopfs::cli
