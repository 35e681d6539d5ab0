#include "sys/file_identity.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/fd.h"

namespace loopfs::sys {
namespace {

TEST(FileIdentity, IsWhatFstatSays) {
  for (const char* path : {"/", "/dev/null", "/proc/self/exe"}) {
    const Fd fd(::open(path, O_RDONLY | O_CLOEXEC));
    struct stat status;
    ASSERT_EQ(::fstat(fd.get(), &status), 0);
    const auto identity = file_identity(fd.get());
    ASSERT_TRUE(identity) << path;
    EXPECT_EQ(*identity, (FileIdentity{status.st_dev, status.st_ino})) << path;
  }
}

TEST(FileIdentity, NoDescriptor) {
  EXPECT_EQ(file_identity(-1).error().code, EBADF);
}

}  // namespace
}  // namespace loopfs::sys
