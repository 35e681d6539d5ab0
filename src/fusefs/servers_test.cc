// Both kinds of server, asked by the kernel.
#include <fcntl.h>

#include <memory>
#include <set>
#include <string>

#include "base/threads.h"
#include "engine/user_engine.h"
#include "fusefs/fake_kernel.h"
#include "fusefs/node_table.h"
#include "fusefs/sandbox_server.h"
#include "fusefs/shared_server.h"

namespace loopfs::fusefs {
namespace {

using engine::NodeId;
using std::chrono::seconds;

constexpr uint64_t kControlFile = 3;  // node_table.cc

class Sandbox {
 public:
  Sandbox() {
    std::vector<Fd> channels;
    channels.push_back(kernel.take_channel());
    auto made = SandboxServer::create({.engine = engine_.get(), .channels = std::move(channels)});
    EXPECT_TRUE(made);
    server_ = std::move(*made);
    server_->start();
  }
  FakeKernel kernel;

 private:
  std::shared_ptr<engine::UserEngine> engine_ = engine::UserEngine::create({.initial_devices = 2});
  std::unique_ptr<SandboxServer> server_;
};

class Shared {
 public:
  Shared() {
    auto hub = Hub::create(&threads_);
    EXPECT_TRUE(hub);
    hub_ = std::move(*hub);
    auto made = SharedServer::create({.engine = engine_.get(),
                                      .channel = kernel.take_channel(),
                                      .root_uid = 4711,
                                      .session = {.hub = hub_.get(),
                                                  .lane = lane_,
                                                  .on_begin = [this](std::span<const std::byte>) { ++begun; },
                                                  .on_gone = [] {}}});
    EXPECT_TRUE(made);
    server_ = std::move(*made);
    EXPECT_TRUE(server_->start());
  }
  ~Shared() {
    server_->stop();
    EXPECT_TRUE(lane_->drain(seconds(5)));
    server_.reset();
    hub_.reset();
    EXPECT_TRUE(threads_.stop(seconds(5)));
  }
  FakeKernel kernel;
  std::atomic<int> begun = 0;

 private:
  std::shared_ptr<engine::UserEngine> engine_ = engine::UserEngine::create({.initial_devices = 2});
  base::Threads threads_{8};
  std::unique_ptr<Hub> hub_;
  std::shared_ptr<base::Lane> lane_ = base::Lane::create(&threads_, 4);
  std::unique_ptr<SharedServer> server_;
};

template <typename Kind>
class EveryServer : public testing::Test {};
using Kinds = testing::Types<Sandbox, Shared>;
TYPED_TEST_SUITE(EveryServer, Kinds);

std::vector<std::pair<std::string, uint64_t>> entries_of(const FakeKernel::Answer& answer) {
  std::vector<std::pair<std::string, uint64_t>> entries;
  for (size_t at = 0; at + FUSE_NAME_OFFSET <= answer.bytes.size();) {
    fuse_dirent entry{};
    std::memcpy(&entry, answer.bytes.data() + at, FUSE_NAME_OFFSET);
    entries.emplace_back(
        std::string(reinterpret_cast<const char*>(answer.bytes.data() + at + FUSE_NAME_OFFSET),
                    entry.namelen),
        entry.off);
    at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + entry.namelen);
  }
  return entries;
}

TYPED_TEST(EveryServer, ListsItsNodesFromAnyPlaceOn) {
  TypeParam server;
  server.kernel.begin();
  const auto all = entries_of(
      server.kernel.ask(FUSE_READDIR, FUSE_ROOT_ID, fuse_read_in{.fh = 0, .offset = 0, .size = 4096}));
  std::vector<std::string> names;
  for (const auto& [name, place] : all) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{".", "..", "loop-control", "loop0", "loop1"}));
  for (size_t i = 0; i < all.size(); ++i) {
    const auto rest = entries_of(server.kernel.ask(
        FUSE_READDIR, FUSE_ROOT_ID, fuse_read_in{.fh = 0, .offset = all[i].second, .size = 4096}));
    ASSERT_EQ(rest.size(), all.size() - i - 1);
    if (i + 1 < all.size()) {
      EXPECT_EQ(rest.front(), all[i + 1]);
    }
  }
  const auto few = entries_of(
      server.kernel.ask(FUSE_READDIR, FUSE_ROOT_ID, fuse_read_in{.fh = 0, .offset = 0, .size = 110}));
  EXPECT_EQ(few.size(), 3u);  // what there is room for
}

FakeKernel::Answer make_directory(FakeKernel& kernel, const std::string& name) {
  return kernel.ask(FUSE_MKDIR, FUSE_ROOT_ID, std::string(sizeof(fuse_mkdir_in), '\0') + name + '\0');
}

TEST(SharedServer, WhoIsNoDevHasNothingButNodes) {
  Shared server;
  server.kernel.begin();
  EXPECT_EQ(make_directory(server.kernel, "d").error, EPERM);
  EXPECT_EQ(server.kernel.lookup("d").error, ENOENT);
}

TEST(SandboxServer, IsAWholeDev) {
  Sandbox server;
  FakeKernel& kernel = server.kernel;
  kernel.begin();
  const auto made = make_directory(kernel, "d");
  ASSERT_EQ(made.error, 0);
  const auto inode = made.as<fuse_entry_out>().nodeid;
  EXPECT_EQ(kernel.lookup("d").as<fuse_entry_out>().nodeid, inode);
  EXPECT_EQ(make_directory(kernel, "d").error, EEXIST);
  const auto listed =
      entries_of(kernel.ask(FUSE_READDIR, FUSE_ROOT_ID, fuse_read_in{.fh = 0, .offset = 0, .size = 4096}));
  EXPECT_EQ(listed.back().first, "d");
  EXPECT_EQ(
      entries_of(kernel.ask(FUSE_READDIR, inode, fuse_read_in{.fh = 0, .offset = 0, .size = 4096})).size(),
      2u);
  EXPECT_EQ(kernel.ask(FUSE_RMDIR, FUSE_ROOT_ID, std::string("d") + '\0').error, 0);
  EXPECT_EQ(kernel.ask(FUSE_GETATTR, inode, fuse_getattr_in{}).error, ENOENT);
}

TYPED_TEST(EveryServer, WhatIsOpenedAndWhatIsLookedAtAreOneFile) {
  TypeParam server;
  FakeKernel& kernel = server.kernel;
  kernel.begin();
  const auto file = kernel.ask(FUSE_GETATTR, kControlFile, fuse_getattr_in{}).template as<fuse_attr_out>();
  EXPECT_EQ(file.attr.ino, kControlFile - 1);
}

TYPED_TEST(EveryServer, RefusesWhatNobodyCanDo) {
  TypeParam server;
  FakeKernel& kernel = server.kernel;
  kernel.begin();
  EXPECT_EQ(kernel.lookup("loop2").error, ENOENT);
  EXPECT_EQ(kernel.lookup("loop00").error, ENOENT);
  EXPECT_EQ(kernel.ask(FUSE_UNLINK, FUSE_ROOT_ID, std::string("loop-control") + '\0').error, EPERM);
  EXPECT_EQ(kernel.ask(FUSE_UNLINK, FUSE_ROOT_ID, std::string("other") + '\0').error, ENOENT);
  EXPECT_EQ(make_directory(kernel, "loop7").error, EPERM);
  EXPECT_EQ(kernel.ask(FUSE_OPENDIR, kControlFile, fuse_open_in{}).error, ENOTDIR);
  EXPECT_EQ(kernel.ask(FUSE_OPEN, FUSE_ROOT_ID, fuse_open_in{}).error, EISDIR);
  EXPECT_EQ(kernel.ask(FUSE_GETATTR, 0x7777'7777'7777'7777, fuse_getattr_in{}).error, ENOENT);
}

// libfuse would answer it in the place of the next request, or keep it for good.
TYPED_TEST(EveryServer, AnInterruptThatComesTooLateLeavesNothing) {
  TypeParam server;
  server.kernel.begin();
  const fuse_interrupt_in interrupt{.unique = 4711};
  server.kernel.send(FUSE_INTERRUPT, FUSE_ROOT_ID,
                     {reinterpret_cast<const char*>(&interrupt), sizeof interrupt});
  EXPECT_EQ(server.kernel.lookup("loop1").error, 0);
  EXPECT_EQ(server.kernel.lookup("loop2").error, ENOENT);
  server.kernel.send(FUSE_INTERRUPT, FUSE_ROOT_ID,
                     {reinterpret_cast<const char*>(&interrupt), sizeof interrupt});
}

TYPED_TEST(EveryServer, UnlinkRemovesADevice) {
  TypeParam server;
  server.kernel.begin();
  EXPECT_EQ(server.kernel.ask(FUSE_UNLINK, FUSE_ROOT_ID, std::string("loop1") + '\0').error, 0);
  EXPECT_EQ(server.kernel.lookup("loop1").error, ENOENT);
}

TYPED_TEST(EveryServer, AFreeDeviceIsOpenedReadAndClosed) {
  TypeParam server;
  FakeKernel& kernel = server.kernel;
  kernel.begin();
  const uint64_t inode = inode_number({NodeId::of_device(0), Flavour::kFile});
  const auto opened = kernel.ask(FUSE_OPEN, inode, fuse_open_in{.flags = O_RDWR});
  ASSERT_EQ(opened.error, 0);
  const uint64_t handle = opened.template as<fuse_open_out>().fh;
  const auto got = kernel.ask(FUSE_READ, inode, fuse_read_in{.fh = handle, .offset = 0, .size = 65536});
  EXPECT_EQ(got.error, 0);
  EXPECT_TRUE(got.bytes.empty());
  std::string bytes(sizeof(fuse_write_in) + 512, 'x');
  const fuse_write_in write{.fh = handle, .offset = 0, .size = 512};
  std::memcpy(bytes.data(), &write, sizeof write);
  EXPECT_EQ(kernel.ask(FUSE_WRITE, inode, bytes).error, ENOSPC);
  EXPECT_EQ(
      kernel.ask(FUSE_LSEEK, inode, fuse_lseek_in{.fh = handle, .offset = 0, .whence = SEEK_DATA}).error,
      EINVAL);
  // Removed, it would be gone: it is in use.
  EXPECT_EQ(kernel.ask(FUSE_UNLINK, FUSE_ROOT_ID, std::string("loop0") + '\0').error, EBUSY);
  EXPECT_EQ(kernel.ask(FUSE_FLUSH, inode, fuse_flush_in{.fh = handle}).error, 0);
  EXPECT_EQ(kernel.ask(FUSE_RELEASE, inode, fuse_release_in{.fh = handle}).error, 0);
  EXPECT_EQ(kernel.ask(FUSE_UNLINK, FUSE_ROOT_ID, std::string("loop0") + '\0').error, 0);
}

TEST(SandboxServer, HasThePagesCachedAndLargeRequests) {
  Sandbox server;
  EXPECT_EQ(server.kernel.begin().as<fuse_init_out>().max_write, 1u << 20);
  const uint64_t inode = inode_number({NodeId::of_device(0), Flavour::kFile});
  for (const auto& [mode, flags] :
       {std::pair(O_RDONLY, 0), std::pair(O_DIRECT, FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES)}) {
    const auto opened =
        server.kernel.ask(FUSE_OPEN, inode, fuse_open_in{.flags = static_cast<uint32_t>(mode)})
            .as<fuse_open_out>();
    EXPECT_EQ(opened.open_flags, static_cast<uint32_t>(flags));
    EXPECT_EQ(server.kernel.ask(FUSE_RELEASE, inode, fuse_release_in{.fh = opened.fh}).error, 0);
  }
}

TEST(SandboxServer, ShowsADeviceToWhoIsOutOfSight) {
  Sandbox server;
  server.kernel.begin();
  const auto entry = server.kernel.lookup("loop0").as<fuse_entry_out>();
  EXPECT_TRUE(S_ISBLK(entry.attr.mode));
  EXPECT_EQ(entry.attr_valid + entry.attr_valid_nsec, 0u);
  const auto asked = server.kernel.ask(FUSE_GETATTR, entry.nodeid, fuse_getattr_in{});
  EXPECT_EQ(asked.error, 0);
  EXPECT_TRUE(S_ISBLK(asked.as<fuse_attr_out>().attr.mode));
  // One that leads to a device of the kernel's is never given out.
  EXPECT_EQ(
      server.kernel
          .ask(FUSE_GETATTR, inode_number({NodeId::of_device(0), Flavour::kKernel, 1}), fuse_getattr_in{})
          .error,
      ESTALE);
}

TEST(SharedServer, CachesNothingAndHasSmallRequests) {
  Shared server;
  const auto begun = server.kernel.begin().as<fuse_init_out>();
  EXPECT_EQ(begun.max_write, Hub::kMostWrite);
  EXPECT_LE(begun.max_pages * 4096u, 128u << 10);
  EXPECT_EQ(server.begun, 1);
  const auto opened = server.kernel.ask(FUSE_OPEN, inode_number({NodeId::of_device(0), Flavour::kFile}),
                                        fuse_open_in{.flags = O_RDONLY});
  EXPECT_EQ(opened.as<fuse_open_out>().open_flags, unsigned{FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES});
  EXPECT_TRUE(decode_handle(opened.as<fuse_open_out>().fh));
  const auto root = server.kernel.ask(FUSE_GETATTR, FUSE_ROOT_ID, fuse_getattr_in{}).as<fuse_attr_out>();
  EXPECT_EQ(root.attr.uid, 4711u);
}

TEST(SharedServer, LetsNobodyGetToTheNumberOfADevice) {
  Shared server;
  server.kernel.begin();
  const auto entry = server.kernel.lookup("loop0").as<fuse_entry_out>();
  EXPECT_TRUE(S_ISREG(entry.attr.mode));
  EXPECT_GT(entry.attr_valid_nsec, 0u);  // spares a GETATTR
  // Got by one who only looked, and asked for by another one now: an O_PATH descriptor, a bind mount.
  const uint64_t device = inode_number({NodeId::of_device(0), Flavour::kDevice});
  EXPECT_EQ(server.kernel.ask(FUSE_GETATTR, device, fuse_getattr_in{}).error, ESTALE);
  EXPECT_EQ(
      server.kernel
          .ask(FUSE_GETATTR, inode_number({NodeId::of_device(0), Flavour::kKernel, 1}), fuse_getattr_in{})
          .error,
      ESTALE);
}

TEST(SharedServer, AnswersForAHandleThatIsNotThere) {
  Shared server;
  server.kernel.begin();
  const uint64_t inode = inode_number({NodeId::of_device(0), Flavour::kFile});
  for (const uint64_t handle : {uint64_t{0x10'0000'0000'0000'00}, UINT64_MAX}) {
    EXPECT_EQ(server.kernel.ask(FUSE_READ, inode, fuse_read_in{.fh = handle, .size = 512}).error, ENXIO);
    EXPECT_EQ(server.kernel.ask(FUSE_IOCTL, inode, fuse_ioctl_in{.fh = handle}).error, ENXIO);
    EXPECT_EQ(server.kernel.ask(FUSE_FSYNC, inode, fuse_fsync_in{.fh = handle}).error, ENXIO);
    EXPECT_EQ(server.kernel.ask(FUSE_FLUSH, inode, fuse_flush_in{.fh = handle}).error, ENXIO);
    EXPECT_EQ(server.kernel.ask(FUSE_RELEASE, inode, fuse_release_in{.fh = handle}).error, 0);
  }
}

}  // namespace
}  // namespace loopfs::fusefs
