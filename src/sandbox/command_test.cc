#include "sandbox/command.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace loopfs::sandbox {
namespace {

TEST(ExecFailure, ANameThatIsNowhereIsNotFound) {
  EXPECT_EQ(explain_exec_failure("no-such-command", ENOENT).status, kNotFound);
  EXPECT_EQ(explain_exec_failure("no-such-command", ENOENT).reason, "command not found");
  // A folder in PATH that may not be searched.
  EXPECT_EQ(explain_exec_failure("no-such-command", EACCES).status, kNotFound);
  EXPECT_EQ(explain_exec_failure("", ENOENT).status, kNotFound);
}

TEST(Path, HasTheProgramsOfAdministrators) {
  EXPECT_EQ(path_with_administration("/usr/bin:/bin"), "/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin");
  EXPECT_EQ(path_with_administration("/sbin:/usr/bin"), "/sbin:/usr/bin:/usr/local/sbin:/usr/sbin");
  EXPECT_EQ(path_with_administration("/usr/local/sbin:/usr/sbin:/sbin"), "/usr/local/sbin:/usr/sbin:/sbin");
  EXPECT_EQ(path_with_administration("/opt/sbin"), "/opt/sbin:/usr/local/sbin:/usr/sbin:/sbin");
}

TEST(ExecFailure, APathThatIsMissing) {
  EXPECT_EQ(explain_exec_failure("./no-such-file", ENOENT).status, kNotFound);
  EXPECT_EQ(explain_exec_failure("./no-such-file", ENOENT).reason, "No such file or directory");
}

TEST(ExecFailure, AFileThatCannotBeExecuted) {
  EXPECT_EQ(explain_exec_failure("/etc/passwd", EACCES).status, kCannotExecute);
  EXPECT_EQ(explain_exec_failure("/etc/passwd", EACCES).reason, "Permission denied");
  EXPECT_EQ(explain_exec_failure("/etc/passwd", ENOENT).reason, "its interpreter is missing");
}

}  // namespace
}  // namespace loopfs::sandbox
