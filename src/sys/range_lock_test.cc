#include "sys/range_lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "base/fd.h"

namespace loopfs::sys {
namespace {

class RangeLock : public testing::Test {
 protected:
  // The file, opened anew.
  Fd open(int flags = O_RDWR) const {
    return Fd(::open(("/proc/self/fd/" + std::to_string(memory_.get())).c_str(), flags | O_CLOEXEC));
  }
  static bool lock(const Fd& file, uint64_t first, uint64_t count) {
    const auto in_the_way = lock_range(file.get(), {first, count});
    EXPECT_TRUE(in_the_way);
    return in_the_way && !*in_the_way;
  }

 private:
  const Fd memory_{::memfd_create("lock", MFD_CLOEXEC)};
};

TEST_F(RangeLock, OverlapIsRefusedAndToldOf) {
  const Fd one = open(), two = open();
  ASSERT_TRUE(lock(one, 100000, 100000));
  for (const ByteRange wanted :
       {ByteRange{100000, 100000}, {199999, 1}, {150000, 100000}, {1, 100000}, {0, 0}}) {
    const auto in_the_way = lock_range(two.get(), wanted);
    ASSERT_TRUE(in_the_way);
    EXPECT_EQ(*in_the_way, (ByteRange{100000, 100000}));
  }
  EXPECT_TRUE(lock(two, 200000, 100000));
  EXPECT_TRUE(lock(two, 0, 100000));
}

TEST_F(RangeLock, OnesOwnIsNotInTheWay) {
  const Fd one = open();
  EXPECT_TRUE(lock(one, 1000, 1000));
  EXPECT_TRUE(lock(one, 1000, 1000));
  EXPECT_TRUE(lock(one, 500, 5000));
}

TEST_F(RangeLock, LastsAsLongAsADuplicate) {
  Fd one = open();
  Fd duplicate(::fcntl(one.get(), F_DUPFD_CLOEXEC, 0));
  const Fd two = open();
  ASSERT_TRUE(lock(one, 1, 10));
  one.reset();
  open().reset();  // unlike a lock of the process, it does not end with any descriptor of the file
  EXPECT_FALSE(lock(two, 1, 10));
  duplicate.reset();
  EXPECT_TRUE(lock(two, 1, 10));
}

TEST_F(RangeLock, EndsWithTheProcessThatIsKilled) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const Fd one = open();
    const bool locked = lock(one, 1, 10);
    (void)!::write(ready[1], locked ? "y" : "n", 1);
    ::pause();
    ::_exit(0);
  }
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  const Fd two = open();
  EXPECT_FALSE(lock(two, 1, 10));
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(lock(two, 1, 10));
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(RangeLock, WantsAFileOpenForWriting) {
  const Fd read_only = open(O_RDONLY);
  EXPECT_EQ(lock_range(read_only.get(), {1, 10}).error().code, EBADF);
}

}  // namespace
}  // namespace loopfs::sys
