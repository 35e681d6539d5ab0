// A process that lies: its memory is other bytes at each reading, its descriptors are of any kind.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

#include "engine/caller.h"
#include "harness.h"

namespace loopfs::fuzz {

// The files that descriptors lead to. All but the images are made once.
class Files {
 public:
  static constexpr size_t kNodes = 5;      // stand for nodes of the instance
  static constexpr size_t kImages = 3;     // can be written
  static constexpr off_t kSize = 1 << 20;  // bytes of an image
  static constexpr off_t kMost = 4 << 20;  // that it is made to have

  Files() {
    for (Fd& image : images_) image = memory(kSize);
    put_table();
  }

  // The images are as new.
  void reset() const {
    for (const Fd& image : images_) {
      FUZZ_CHECK(::ftruncate(image.get(), 0) == 0 && ::ftruncate(image.get(), kSize) == 0);
      FUZZ_CHECK(::fcntl(image.get(), F_SETFL, 0) == 0);
    }
    put_table();
  }

  // Descriptor `number` as the caller has it; below 0: it has none of that number.
  int at(int number) const {
    const Fixed& fixed = fixed_files();
    const auto index = static_cast<size_t>(number) % (kImages + fixed.all.size() + 1);
    if (number < 0 || index == kImages + fixed.all.size()) return -1;
    return index < kImages ? images_[index].get() : fixed.all[index - kImages].get();
  }
  int image(size_t index) const { return images_[index % kImages].get(); }

  static std::optional<instance::NodeId> node_of(const struct stat& status) {
    using instance::NodeId;
    static const std::array<NodeId, kNodes> kAll = {NodeId::control(), NodeId::of_device(0),
                                                    NodeId::of_device(1), NodeId::of_partition(0, 1),
                                                    NodeId::of_device(9)};
    for (size_t i = 0; i < kNodes; ++i) {
      if (fixed_files().nodes[i] == status.st_ino) return kAll[i];
    }
    return std::nullopt;
  }

 private:
  struct Fixed {
    std::vector<Fd> all;
    std::array<ino_t, kNodes> nodes{};
  };

  // Two partitions, on the second image.
  void put_table() const {
    constexpr std::string_view kEntries(
        "\0\0\0\0\x83\0\0\0\x08\0\0\0\x10\0\0\0\0\0\0\0\x83\0\0\0\x20\0\0\0\x40\0\0\0", 32);
    FUZZ_CHECK(::pwrite(images_[1].get(), kEntries.data(), kEntries.size(), 446) == 32);
    FUZZ_CHECK(::pwrite(images_[1].get(), "\x55\xaa", 2, 510) == 2);
  }

  static Fd memory(off_t size) {
    Fd file(::memfd_create("image", MFD_CLOEXEC));
    FUZZ_CHECK(file.valid() && ::ftruncate(file.get(), size) == 0);
    return file;
  }
  static Fd again(int fd, int flags) {
    Fd file(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), flags | O_CLOEXEC));
    FUZZ_CHECK(file.valid());
    return file;
  }

  static const Fixed& fixed_files() {
    static const Fixed kFixed = [] {
      Fixed fixed;
      for (ino_t& inode : fixed.nodes) {
        const Fd file = memory(0);
        struct stat status {};
        FUZZ_CHECK(::fstat(file.get(), &status) == 0);
        inode = status.st_ino;
        fixed.all.push_back(again(file.get(), O_RDWR));
      }
      for (const off_t size : {off_t{0}, off_t{100}, off_t{4096}, off_t{INT64_MAX}}) {
        fixed.all.push_back(again(memory(size).get(), O_RDONLY));
      }
      fixed.all.push_back(again(memory(4096).get(), O_PATH));
      fixed.all.push_back(again(memory(4096).get(), O_WRONLY | O_APPEND));
      for (const char* path : {"/", "/proc/self/status", "/dev/null", "/proc/self/ns/user"}) {
        fixed.all.emplace_back(::open(path, O_RDONLY | O_CLOEXEC));
      }
      int ends[2];
      FUZZ_CHECK(::pipe2(ends, O_CLOEXEC) == 0);
      fixed.all.emplace_back(ends[0]);
      fixed.all.emplace_back(ends[1]);
      FUZZ_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
      fixed.all.emplace_back(ends[0]);
      fixed.all.emplace_back(ends[1]);
      for (const Fd& file : fixed.all) FUZZ_CHECK(file.valid());
      return fixed;
    }();
    return kFixed;
  }

  std::array<Fd, kImages> images_;
};

// Takes what its memory holds from the input, each time anew.
class LyingCaller final : public engine::Caller {
 public:
  LyingCaller(Input& input, const Files& files) : input_(input), files_(files) {}

  Result<void> read(uint64_t address, std::span<std::byte> bytes) const override {
    if (address < 4096) return fail(EFAULT, "read memory");
    FUZZ_CHECK(bytes.size() <= 4096);  // nobody asks for more than a struct
    input_.fill(bytes);
    return {};
  }
  Result<void> write(uint64_t address, std::span<const std::byte> bytes) const override {
    if (address < 4096 || address >= uint64_t{1} << 47) return fail(EFAULT, "write memory");
    for (const std::byte byte : bytes) seen_ ^= byte;  // MemorySanitizer and valgrind see what is not set
    return {};
  }
  Result<Fd> take_fd(int fd) const override {
    Fd taken(::fcntl(files_.at(fd), F_DUPFD_CLOEXEC, 0));
    if (!taken.valid()) return errno_fail("take descriptor {}", fd);
    return taken;
  }
  std::string path_of_fd(int fd) const override { return fmt::format("/tmp/{}", fd); }
  Result<Fd> reopen(int own_fd, int flags) const override {
    if (refuse) return fail(EACCES, "reopen");
    Fd opened(::open(fmt::format("/proc/self/fd/{}", own_fd).c_str(), flags | O_CLOEXEC | O_NONBLOCK));
    if (!opened.valid()) return errno_fail("reopen");
    return opened;
  }
  Result<struct stat> stat_of_fd(int own_fd) const override {
    if (refuse_stat) return fail(EACCES, "fstat");
    return Caller::stat_of_fd(own_fd);
  }
  std::optional<instance::NodeId> node_of_fd(int own_fd) const override {
    struct stat status {};
    return ::fstat(own_fd, &status) == 0 ? Files::node_of(status) : std::nullopt;
  }
  bool has_sys_admin() const override { return sys_admin; }

  bool sys_admin = true, refuse = false, refuse_stat = false;

 private:
  Input& input_;
  const Files& files_;
  mutable std::byte seen_{};
};

}  // namespace loopfs::fuzz
