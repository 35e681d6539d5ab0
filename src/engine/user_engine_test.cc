#include "engine/user_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "engine/fake_caller.h"

namespace loopfs::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

constexpr uint64_t kMiB = 1 << 20;

struct Recorder : Observer {
  void node_added(NodeId id) override { events.push_back("+" + id.name()); }
  void node_removed(NodeId id) override { events.push_back("-" + id.name()); }
  void contents_changed(NodeId id) override { events.push_back("~" + id.name()); }
  std::vector<std::string> events;
};

class UserEngineTest : public ::testing::Test {
 protected:
  std::unique_ptr<OpenNode> open(NodeId id, OpenOptions options = {.read = true, .write = true}) {
    auto opened = engine->open(id, options);
    return opened ? std::move(*opened) : nullptr;
  }
  int code(OpenNode& node, unsigned command, uint64_t argument = 0) {
    IoctlRequest request{.command = command, .argument = argument};
    auto answer = node.ioctl(request, caller);
    return answer ? *answer : -answer.error().code;
  }
  template <typename T>
  int code_at(OpenNode& node, unsigned command, T& argument) {
    return code(node, command, reinterpret_cast<uint64_t>(&argument));
  }
  int configure(OpenNode& node, int fd, uint32_t flags = 0, uint64_t offset = 0) {
    loop_config config{};
    config.fd = static_cast<uint32_t>(fd);
    config.info.lo_flags = flags;
    config.info.lo_offset = offset;
    return code_at(node, LOOP_CONFIGURE, config);
  }
  static Fd memory(uint64_t size = kMiB) {
    Fd fd(::memfd_create("backing", MFD_CLOEXEC));
    EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
    return fd;
  }
  // An MBR with one partition at 64 KiB, 64 KiB long.
  static void write_table(int fd) {
    unsigned char mbr[512] = {};
    mbr[446 + 4] = 0x83;
    mbr[446 + 8] = 128;
    mbr[446 + 12] = 128;
    mbr[510] = 0x55;
    mbr[511] = 0xaa;
    ASSERT_EQ(::pwrite(fd, mbr, sizeof mbr, 0), 512);
  }

  Recorder recorder;  // outlives the engine
  std::unique_ptr<UserEngine> engine = UserEngine::create({.initial_devices = 2});
  FakeCaller caller;
};

TEST_F(UserEngineTest, NodesAndTheirAttributes) {
  EXPECT_THAT(engine->nodes(), ElementsAre(NodeId::control(), NodeId::of_device(0), NodeId::of_device(1)));
  EXPECT_EQ(engine->attributes(NodeId::control())->device, makedev(10, 237));
  const auto device = engine->attributes(NodeId::of_device(1));
  ASSERT_TRUE(device);
  EXPECT_EQ(device->device, makedev(7, 1));
  EXPECT_EQ(device->mode, 0600u);
  EXPECT_EQ(device->size, 0u);
  EXPECT_FALSE(engine->attributes(NodeId::of_device(2)));
  EXPECT_FALSE(engine->attributes(NodeId::of_partition(1, 1)));
  ASSERT_TRUE(engine->change_attributes(NodeId::of_device(1), {.mode = 0640, .uid = 5, .gid = 6}));
  EXPECT_EQ(engine->attributes(NodeId::of_device(1))->mode, 0640u);
  EXPECT_EQ(engine->attributes(NodeId::of_device(1))->gid, 6u);
  EXPECT_EQ(engine->attributes(NodeId::of_device(0))->mode, 0600u);
}

TEST_F(UserEngineTest, UnlinkIsRemove) {
  EXPECT_EQ(engine->unlink(NodeId::control()).error().code, EPERM);
  EXPECT_EQ(engine->unlink(NodeId::of_partition(0, 1)).error().code, EPERM);
  EXPECT_EQ(engine->unlink(NodeId::of_device(9)).error().code, ENODEV);
  auto node = open(NodeId::of_device(0));
  EXPECT_EQ(engine->unlink(NodeId::of_device(0)).error().code, EBUSY);
  node.reset();
  engine->add_observer(&recorder);
  EXPECT_TRUE(engine->unlink(NodeId::of_device(0)));
  EXPECT_THAT(recorder.events, ElementsAre("-loop0"));
  EXPECT_FALSE(open(NodeId::of_device(0)));
}

TEST_F(UserEngineTest, ControlAnnouncesWhatItMakes) {
  engine->add_observer(&recorder);
  auto control = open(NodeId::control());
  EXPECT_EQ(code(*control, LOOP_CTL_ADD, 7), 7);
  EXPECT_EQ(code(*control, LOOP_CTL_ADD, 7), -EEXIST);
  EXPECT_EQ(code(*control, LOOP_CTL_GET_FREE), 0);
  EXPECT_EQ(code(*control, LOOP_CTL_REMOVE, 7), 0);
  EXPECT_EQ(code(*control, 0x4C99), -ENOSYS);
  EXPECT_THAT(recorder.events, ElementsAre("+loop7", "-loop7"));
}

TEST_F(UserEngineTest, MaxIsEnforced) {
  engine = UserEngine::create({.max = 2, .initial_devices = 8});
  EXPECT_EQ(engine->nodes().size(), 3u);
  auto control = open(NodeId::control());
  EXPECT_EQ(code(*control, LOOP_CTL_ADD, static_cast<uint64_t>(-1)), -ENOSPC);
}

TEST_F(UserEngineTest, ReadsAndWritesTheFile) {
  const Fd file = memory();
  auto node = open(NodeId::of_device(0));
  ASSERT_EQ(configure(*node, file.get(), 0, 4096), 0);
  const std::string text = "hello";
  EXPECT_EQ(*node->write(512, std::as_bytes(std::span(text))), 5u);
  char back[5] = {};
  ASSERT_EQ(::pread(file.get(), back, 5, 4096 + 512), 5);
  EXPECT_EQ(std::string(back, 5), text);
  const auto size = engine->attributes(NodeId::of_device(0))->size;
  EXPECT_EQ(size, kMiB - 4096);
  std::byte bytes[1024];
  EXPECT_EQ(*node->read(size - 512, bytes), 512u);
  EXPECT_EQ(*node->read(size, bytes), 0u);
  EXPECT_EQ(*node->write(size - 512, bytes), 512u);
  EXPECT_EQ(node->write(size, bytes).error().code, ENOSPC);
  EXPECT_TRUE(node->sync(true));
}

TEST_F(UserEngineTest, AnAppendingDescriptorDoesNotMoveWrites) {
  const Fd file = memory();
  for (const bool refuse : {false, true}) {
    caller.refuse_reopen = refuse;  // then the engine has only the caller's own description
    auto node = open(NodeId::of_device(0));
    ASSERT_EQ(configure(*node, file.get(), LO_FLAGS_AUTOCLEAR), 0);
    ASSERT_EQ(::fcntl(file.get(), F_SETFL, O_APPEND), 0);
    const char text[] = "x";
    EXPECT_EQ(*node->write(100, std::as_bytes(std::span(text, 1))), 1u);
    struct stat status;
    ASSERT_EQ(::fstat(file.get(), &status), 0);
    EXPECT_EQ(status.st_size, static_cast<off_t>(kMiB));
  }
}

TEST_F(UserEngineTest, DiscardAndZeroOutKeepTheImageSparse) {
  const Fd file = memory();
  const std::vector<char> data(kMiB, 'x');
  ASSERT_EQ(::pwrite(file.get(), data.data(), kMiB, 0), static_cast<ssize_t>(kMiB));
  auto node = open(NodeId::of_device(0));
  ASSERT_EQ(configure(*node, file.get()), 0);
  uint64_t first[2] = {0, kMiB / 2}, second[2] = {kMiB / 2, kMiB / 2};
  EXPECT_EQ(code_at(*node, BLKDISCARD, first), 0);
  EXPECT_EQ(code_at(*node, BLKZEROOUT, second), 0);
  struct stat status;
  ASSERT_EQ(::fstat(file.get(), &status), 0);
  EXPECT_EQ(status.st_blocks, 0);
  EXPECT_EQ(status.st_size, static_cast<off_t>(kMiB));
}

TEST_F(UserEngineTest, AutoclearIsExact) {
  const Fd file = memory();
  auto first = open(NodeId::of_device(0));
  ASSERT_EQ(configure(*first, file.get(), LO_FLAGS_AUTOCLEAR), 0);
  auto second = open(NodeId::of_device(0), {.read = true});
  first.reset();
  EXPECT_TRUE(engine->snapshot()[0].bound);
  second.reset();
  EXPECT_FALSE(engine->snapshot()[0].bound);
  EXPECT_EQ(engine->snapshot()[0].size, 0u);
}

TEST_F(UserEngineTest, TheBackingFileIsClosedWhenTheDeviceIsCleared) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  Fd file = memory();
  auto node = open(NodeId::of_device(0));
  ASSERT_EQ(configure(*node, file.get()), 0);
  const std::string path = caller.path_of_fd(file.get());
  const auto count = [&] {
    int found = 0;
    for (int fd = 0; fd < 256; ++fd) found += caller.path_of_fd(fd) == path;
    return found;
  };
  EXPECT_GT(count(), 1);
  EXPECT_EQ(code(*node, LOOP_CLR_FD), 0);
  node.reset();
  EXPECT_EQ(count(), 1);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_F(UserEngineTest, ACloseUnderWayIsWaitedFor) {
  const Fd file = memory();
  auto node = open(NodeId::of_device(0));
  ASSERT_EQ(configure(*node, file.get()), 0);
  ASSERT_EQ(code(*node, LOOP_CLR_FD), 0);
  EXPECT_FALSE(open(NodeId::of_device(0)));  // rundown
  node->descriptor_closing();
  std::thread release([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    node.reset();
  });
  EXPECT_EQ(engine->snapshot()[0].backing_file, "");
  EXPECT_EQ(engine->attributes(NodeId::of_device(0))->size, 0u);
  release.join();
  EXPECT_TRUE(open(NodeId::of_device(0)));
}

TEST_F(UserEngineTest, AnExclusiveOpenerWhoIsLeavingIsWaitedFor) {
  auto first = open(NodeId::of_device(0), {.read = true, .exclusive = true});
  EXPECT_EQ(engine->open(NodeId::of_device(0), {.read = true, .exclusive = true}).error().code, EBUSY);
  first->descriptor_closing();
  std::thread release([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    first.reset();
  });
  EXPECT_TRUE(engine->open(NodeId::of_device(0), {.read = true, .exclusive = true}));
  release.join();
}

TEST_F(UserEngineTest, ADescriptorThatWasNotTheLastCostsLittle) {
  const Fd file = memory();
  auto node = open(NodeId::of_device(0));
  ASSERT_EQ(configure(*node, file.get(), LO_FLAGS_AUTOCLEAR), 0);
  node->descriptor_closing();
  EXPECT_TRUE(engine->snapshot()[0].bound);
  EXPECT_TRUE(engine->snapshot()[0].autoclear);
}

TEST_F(UserEngineTest, PartscanMakesNodesBeforeItAnswers) {
  const Fd file = memory();
  write_table(file.get());
  engine->add_observer(&recorder);
  auto node = open(NodeId::of_device(0));
  ASSERT_EQ(configure(*node, file.get(), LO_FLAGS_PARTSCAN), 0);
  EXPECT_THAT(recorder.events, ElementsAre("~loop0", "+loop0p1"));
  const auto state = engine->snapshot()[0];
  ASSERT_EQ(state.partitions.size(), 1u);
  EXPECT_EQ(state.partitions[0].start, 65536u);
  EXPECT_EQ(state.partitions[0].size, 65536u);
  EXPECT_EQ(engine->attributes(NodeId::of_partition(0, 1))->device, makedev(259, 0x80001));
  auto partition = open(NodeId::of_partition(0, 1));
  ASSERT_TRUE(partition);
  const char text[] = "p";
  EXPECT_EQ(*partition->write(0, std::as_bytes(std::span(text, 1))), 1u);
  char back = 0;
  EXPECT_EQ(::pread(file.get(), &back, 1, 65536), 1);
  EXPECT_EQ(back, 'p');
  recorder.events.clear();
  EXPECT_EQ(code(*node, LOOP_CLR_FD), 0);
  node.reset();
  EXPECT_TRUE(recorder.events.empty());  // the partition is open
  partition.reset();
  EXPECT_THAT(recorder.events, UnorderedElementsAre("-loop0p1", "~loop0"));
}

TEST_F(UserEngineTest, AWrittenPartscanDeviceIsScannedWhenClosed) {
  const Fd file = memory(), table = memory();
  write_table(table.get());
  auto keeper = open(NodeId::of_device(0));
  ASSERT_EQ(configure(*keeper, file.get(), LO_FLAGS_PARTSCAN), 0);
  EXPECT_TRUE(engine->snapshot()[0].partitions.empty());
  std::byte sector[512];
  ASSERT_EQ(::pread(table.get(), sector, 512, 0), 512);
  auto writer = open(NodeId::of_device(0));
  ASSERT_TRUE(writer->write(0, sector));
  EXPECT_TRUE(engine->snapshot()[0].partitions.empty());
  writer.reset();
  EXPECT_EQ(engine->snapshot()[0].partitions.size(), 1u);
}

TEST_F(UserEngineTest, PrivilegedIoctlsWantSysAdmin) {
  const Fd file = memory();
  auto writer = open(NodeId::of_device(0)), reader = open(NodeId::of_device(0), {.read = true});
  caller.sys_admin = false;
  ASSERT_EQ(configure(*writer, file.get()), 0);
  loop_info64 info{};
  loop_info old{};
  EXPECT_EQ(code_at(*reader, LOOP_SET_STATUS64, info), -EPERM);
  EXPECT_EQ(code_at(*reader, LOOP_SET_STATUS, old), -EPERM);
  EXPECT_EQ(code(*reader, LOOP_SET_CAPACITY), -EPERM);
  EXPECT_EQ(code(*reader, LOOP_SET_DIRECT_IO, 1), -EPERM);
  EXPECT_EQ(code(*reader, LOOP_SET_BLOCK_SIZE, 4096), -EPERM);
  EXPECT_EQ(code_at(*writer, LOOP_SET_STATUS64, info), 0);
  EXPECT_EQ(code(*writer, LOOP_SET_CAPACITY), 0);
  int zero = 0;
  EXPECT_EQ(code(*writer, BLKRRPART), -EACCES);
  EXPECT_EQ(code(*writer, BLKFLSBUF), -EACCES);
  EXPECT_EQ(code(*writer, BLKRASET, 8), -EACCES);
  EXPECT_EQ(code_at(*writer, BLKROSET, zero), -EACCES);
  blkpg_partition partition{};
  blkpg_ioctl_arg argument{.op = BLKPG_ADD_PARTITION, .flags = 0, .datalen = 0, .data = &partition};
  EXPECT_EQ(code_at(*writer, BLKPG, argument), -EACCES);
  EXPECT_EQ(code_at(*reader, LOOP_GET_STATUS64, info), 0);
}

TEST_F(UserEngineTest, AFileThatIsInUseIsNotBoundAgainToBeWritten) {
  engine = UserEngine::create({.initial_devices = 3});
  const Fd file = memory();
  auto first = open(NodeId::of_device(0)), second = open(NodeId::of_device(1));
  auto other = open(NodeId::of_device(2));
  ASSERT_EQ(configure(*first, file.get()), 0);
  EXPECT_EQ(configure(*second, file.get()), 0) << "nobody has claimed it";
  auto hold = engine->hold_for_mount(NodeId::of_device(0), true);
  ASSERT_TRUE(hold);
  EXPECT_EQ(configure(*other, file.get()), -ETXTBSY);
  EXPECT_EQ(configure(*other, file.get(), LO_FLAGS_READ_ONLY), 0);
  other.reset();
}

TEST_F(UserEngineTest, IoIsCounted) {
  const Fd file = memory();
  auto handle = open(NodeId::of_device(0));
  ASSERT_EQ(configure(*handle, file.get()), 0);
  std::vector<std::byte> bytes(4096);
  ASSERT_TRUE(handle->write(0, bytes));
  ASSERT_TRUE(handle->read(0, std::span(bytes).first(1024)));
  ASSERT_TRUE(handle->read(0, std::span(bytes).first(1024)));
  ASSERT_TRUE(handle->sync(false));
  const auto counted = engine->state(0)->statistics;
  EXPECT_EQ(counted[0], 2u);
  EXPECT_EQ(counted[2], 4u);
  EXPECT_EQ(counted[4], 1u);
  EXPECT_EQ(counted[6], 8u);
  EXPECT_EQ(counted[15], 1u);
  EXPECT_EQ(engine->state(1)->statistics, sys::IoStatistics{});
}

TEST_F(UserEngineTest, AMountHoldIsAnOpenAndAClaim) {
  EXPECT_EQ(engine->hold_for_mount(NodeId::of_device(0), false).error().code, EIO);
  const Fd file = memory();
  auto node = open(NodeId::of_device(0));
  ASSERT_EQ(configure(*node, file.get(), LO_FLAGS_AUTOCLEAR | LO_FLAGS_READ_ONLY, 8192), 0);
  EXPECT_EQ(engine->hold_for_mount(NodeId::of_device(0), true).error().code, EACCES);
  auto hold = engine->hold_for_mount(NodeId::of_device(0), false);
  ASSERT_TRUE(hold);
  EXPECT_EQ((*hold)->offset(), 8192u);
  EXPECT_EQ((*hold)->size(), kMiB - 8192);
  EXPECT_EQ((*hold)->backing_size(), kMiB);
  EXPECT_TRUE((*hold)->read_only());
  EXPECT_EQ(engine->hold_for_mount(NodeId::of_device(0), false).error().code, EBUSY);
  node.reset();
  EXPECT_TRUE(engine->snapshot()[0].bound);
  hold->reset();
  EXPECT_FALSE(engine->snapshot()[0].bound);
}

TEST_F(UserEngineTest, ADeviceOnADevice) {
  const Fd file = memory();
  auto lower = open(NodeId::of_device(0));
  ASSERT_EQ(configure(*lower, file.get(), 0, 4096), 0);
  const Fd token = memory();  // stands for the open node
  struct stat status;
  ASSERT_EQ(::fstat(token.get(), &status), 0);
  caller.nodes[status.st_ino] = NodeId::of_device(0);
  auto upper = open(NodeId::of_device(1));
  EXPECT_EQ(configure(*lower, token.get()), -EBUSY);
  ASSERT_EQ(configure(*upper, token.get(), 0, 8192), 0);
  auto hold = engine->hold_for_mount(NodeId::of_device(1), true);
  ASSERT_TRUE(hold);
  EXPECT_EQ((*hold)->offset(), 4096u + 8192u);
  EXPECT_EQ((*hold)->size(), kMiB - 4096 - 8192);
  const char text[] = "u";
  EXPECT_EQ(*upper->write(0, std::as_bytes(std::span(text, 1))), 1u);
  char back = 0;
  EXPECT_EQ(::pread(file.get(), &back, 1, 4096 + 8192), 1);
  EXPECT_EQ(back, 'u');
  EXPECT_EQ(engine->snapshot()[1].size, kMiB - 4096 - 8192);
}

TEST_F(UserEngineTest, ADeviceOnItselfIsRefused) {
  const Fd token = memory();
  struct stat status;
  ASSERT_EQ(::fstat(token.get(), &status), 0);
  caller.nodes[status.st_ino] = NodeId::of_device(0);
  auto node = open(NodeId::of_device(0)), other = open(NodeId::of_device(1));
  EXPECT_EQ(configure(*node, token.get()), -EBADF);
  EXPECT_EQ(configure(*other, token.get()), -EINVAL);  // not bound
}

TEST_F(UserEngineTest, SnapshotTellsADeletedFile) {
  char name[] = "/tmp/loopfs-engine-test.XXXXXX";
  const Fd file(::mkostemp(name, O_CLOEXEC));
  ASSERT_EQ(::ftruncate(file.get(), 65536), 0);
  auto node = open(NodeId::of_device(0));
  ASSERT_EQ(configure(*node, file.get()), 0);
  EXPECT_EQ(engine->snapshot()[0].backing_file, name);
  ::unlink(name);
  EXPECT_EQ(engine->snapshot()[0].backing_file, std::string(name) + " (deleted)");
}

TEST_F(UserEngineTest, ManyThreadsAtOnce) {
  const Fd file = memory();
  std::atomic<int> bound = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        auto control = open(NodeId::control());
        const int number = code(*control, LOOP_CTL_GET_FREE);
        if (number < 0) continue;
        auto node = open(NodeId::of_device(static_cast<uint32_t>(number)));
        if (!node || configure(*node, file.get()) != 0) continue;
        ++bound;
        std::byte bytes[512];
        EXPECT_TRUE(node->read(0, bytes));
        EXPECT_EQ(code(*node, LOOP_CLR_FD), 0);
        node->descriptor_closing();
        node.reset();
        (void)engine->snapshot();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_GT(bound, 0);
  for (const auto& state : engine->snapshot()) EXPECT_FALSE(state.bound);
}

}  // namespace
}  // namespace loopfs::engine
