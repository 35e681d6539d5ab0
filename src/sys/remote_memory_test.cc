#include "sys/remote_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>

namespace loopfs::sys {
namespace {

uint64_t address_of(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer);
}

TEST(RemoteMemory, CopiesBothWays) {
  std::array<int, 4> there{1, 2, 3, 4};
  std::array<int, 4> here{};
  ASSERT_TRUE(read_memory(::getpid(), address_of(there.data()), std::as_writable_bytes(std::span(here))));
  EXPECT_EQ(here, there);
  here[3] = 9;
  ASSERT_TRUE(write_memory(::getpid(), address_of(there.data()), std::as_bytes(std::span(here))));
  EXPECT_EQ(there[3], 9);
}

TEST(RemoteMemory, RangeThatIsOnlyPartlyMappedIsAFault) {
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  auto* pages = static_cast<char*>(
      ::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(pages, MAP_FAILED);
  ASSERT_EQ(::munmap(pages + page, page), 0);
  std::array<std::byte, 16> bytes{};
  EXPECT_EQ(read_memory(::getpid(), address_of(pages + page - 8), bytes).error().code, EFAULT);
  EXPECT_EQ(write_memory(::getpid(), address_of(pages + page - 8), bytes).error().code, EFAULT);
  EXPECT_EQ(read_memory(::getpid(), 0, bytes).error().code, EFAULT);
  EXPECT_EQ(read_memory(::getpid(), UINT64_MAX - 4, bytes).error().code, EFAULT);
  EXPECT_TRUE(read_memory(::getpid(), 0, {}));
  ::munmap(pages, page);
}

}  // namespace
}  // namespace loopfs::sys
