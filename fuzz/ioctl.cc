// A caller who lies, at an instance of the user engine: a sequence of open, close, ioctl, read, write, fallocate and what
// else there is, on loop-control, devices and partitions, on files that change meanwhile.
#include <linux/blkpg.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/hdreg.h>
#include <linux/loop.h>

#include <array>
#include <memory>
#include <set>
#include <vector>

#include "engine/user_engine.h"
#include "harness.h"
#include "lying_caller.h"

namespace loopfs::fuzz {
namespace {

using engine::NodeId;
using engine::OpenNode;

constexpr uint32_t kMostDevices = 6;
constexpr size_t kMostOpen = 12;

constexpr unsigned kCommands[] = {
    LOOP_CONFIGURE,    LOOP_SET_FD,       LOOP_CLR_FD,        LOOP_SET_STATUS,     LOOP_GET_STATUS,
    LOOP_SET_STATUS64, LOOP_GET_STATUS64, LOOP_CHANGE_FD,     LOOP_SET_CAPACITY,   LOOP_CTL_ADD,
    LOOP_CTL_REMOVE,   LOOP_CTL_GET_FREE, LOOP_SET_DIRECT_IO, LOOP_SET_BLOCK_SIZE, BLKGETSIZE,
    BLKGETSIZE64,      BLKSSZGET,         BLKBSZGET,          BLKBSZSET,           BLKROGET,
    BLKROSET,          BLKRAGET,          BLKRASET,           BLKROTATIONAL,       BLKFLSBUF,
    BLKDISCARD,        BLKSECDISCARD,     BLKZEROOUT,         BLKRRPART,           BLKPG,
    HDIO_GETGEO,       BLKPBSZGET,        BLKIOMIN,           BLKSECTGET,          0x80041272,
    0x80041270};

constexpr uint64_t kAddress = 0x10000;  // of an argument; what is there comes from the input

// Hears what the engine tells, and checks it against what it has told before.
class Watcher final : public engine::Observer {
 public:
  void node_added(NodeId id) override { FUZZ_CHECK(nodes_.insert(id).second); }
  void node_removed(NodeId id) override { FUZZ_CHECK(nodes_.erase(id) == 1); }
  void contents_changed(NodeId id) override { (void)id; }

  std::set<NodeId> nodes_;
};

class Run {
 public:
  explicit Run(Input& input)
      : input_(input),
        caller_(input, files_),
        engine_(engine::UserEngine::create({.max = kMostDevices, .initial_devices = 2})) {
    for (const NodeId& id : engine_->nodes()) {
      if (id.kind != NodeId::Kind::kControl) watcher_.nodes_.insert(id);
    }
    engine_->add_observer(&watcher_);
  }

  void step() {
    using Act = void (Run::*)();
    static constexpr Act kActs[] = {
        &Run::open,   &Run::ioctl,      &Run::ioctl, &Run::ioctl,       &Run::bind,    &Run::read,
        &Run::write,  &Run::allocate,   &Run::close, &Run::change_file, &Run::rights,  &Run::hold,
        &Run::unlink, &Run::attributes, &Run::edit,  &Run::range,       &Run::settings};
    (this->*input_.one_of(kActs))();
  }

  // What holds between any two requests.
  void check() {
    const auto devices = engine_->snapshot();
    FUZZ_CHECK(devices.size() <= kMostDevices);
    std::set<NodeId> nodes;
    for (const engine::DeviceState& device : devices) {
      nodes.insert(NodeId::of_device(device.number));
      FUZZ_CHECK(device.size <= uint64_t{INT64_MAX} && device.size % 512 == 0);
      FUZZ_CHECK(device.logical_block_size >= 512 && device.logical_block_size <= 65536);
      FUZZ_CHECK((device.logical_block_size & (device.logical_block_size - 1)) == 0);
      FUZZ_CHECK(device.partitions.size() <= instance::kMostPartitions);
      for (const engine::PartitionState& partition : device.partitions) {
        nodes.insert(NodeId::of_partition(device.number, partition.number));
        FUZZ_CHECK(partition.start <= uint64_t{INT64_MAX} &&
                   partition.size <= uint64_t{INT64_MAX} - partition.start);
      }
    }
    FUZZ_CHECK(nodes == watcher_.nodes_);
  }

 private:
  NodeId node() {
    const uint8_t byte = input_.byte();
    if (byte < 32) return NodeId::control();
    const uint32_t device = byte % 4;
    if (byte < 160) return NodeId::of_device(device);
    return NodeId::of_partition(device, byte / 4 % 8 + 1);
  }

  OpenNode* handle() { return open_.empty() ? nullptr : open_[input_.below(open_.size())].get(); }

  void open() {
    const NodeId id = node();
    const uint8_t bits = input_.byte();
    if (open_.size() >= kMostOpen) return;
    auto opened = engine_->open(id, {.read = (bits & 1) == 0,
                                     .write = (bits & 2) == 0,
                                     .exclusive = (bits & 12) == 12,
                                     .direct = (bits & 48) == 48});
    if (!opened) return;
    FUZZ_CHECK((*opened)->id() == id);
    open_.push_back(std::move(*opened));
  }

  void close() {
    if (open_.empty()) return;
    const size_t index = input_.below(open_.size());
    // Always told before: else others would wait for a close that does not come.
    open_[index]->descriptor_closing();
    open_.erase(open_.begin() + static_cast<ptrdiff_t>(index));
  }

  uint64_t argument() {
    const uint8_t byte = input_.byte();
    if (byte < 128) return kAddress;
    if (byte < 192) return byte % 32;  // a number, of a descriptor or a device
    return input_.take<uint64_t>();
  }

  Result<int> call(OpenNode& opened, unsigned command, uint64_t at, bool compat) {
    engine::IoctlRequest request{.command = command, .argument = at, .compat = compat};
    std::vector<std::byte> bytes(_IOC_SIZE(command));
    // As the kernel's FUSE does it: what the number says is there, both ways.
    if ((_IOC_DIR(command) & _IOC_WRITE) != 0) {
      input_.fill(bytes);
      request.input = bytes;
    }
    auto result = opened.ioctl(request, caller_);
    FUZZ_CHECK(request.output.size() <= bytes.size());
    FUZZ_CHECK(result ? *result >= 0 : result.error().code > 0);
    return result;
  }

  void ioctl() {
    OpenNode* opened = handle();
    const uint8_t byte = input_.byte();
    const unsigned command = byte == 255 ? input_.take<uint32_t>() : kCommands[byte % std::size(kCommands)];
    const uint64_t at = argument();
    const bool compat = input_.below(8) == 0;
    if (opened != nullptr) (void)call(*opened, command, at, compat);
  }

  // A device that is good for something: all other acts want one.
  void bind() {
    OpenNode* opened = handle();
    if (opened == nullptr) return;
    const uint8_t bits = input_.byte();
    loop_config config{};
    config.fd = bits % 16;
    config.block_size = (bits & 16) != 0 ? 4096 : 0;
    if ((bits & 32) != 0) config.info.lo_flags |= LO_FLAGS_PARTSCAN;
    if ((bits & 64) != 0) config.info.lo_flags |= LO_FLAGS_AUTOCLEAR;
    if ((bits & 128) != 0) config.info.lo_flags |= LO_FLAGS_DIRECT_IO;
    config.info.lo_offset = input_.byte() * uint64_t{512};
    config.info.lo_sizelimit = input_.byte() * uint64_t{512};
    call_honestly(*opened, LOOP_CONFIGURE, config);
  }

  // With an argument that is what it seems.
  template <typename T>
  void call_honestly(OpenNode& opened, unsigned command, const T& argument) {
    Input memory(reinterpret_cast<const uint8_t*>(&argument), sizeof argument);
    LyingCaller honest(memory, files_);
    honest.sys_admin = caller_.sys_admin;
    engine::IoctlRequest request{.command = command, .argument = kAddress};
    (void)opened.ioctl(request, honest);
  }

  // Discard and zero-out of what may be a range of the device.
  void range() {
    OpenNode* opened = handle();
    const unsigned command = input_.below(2) == 0 ? BLKDISCARD : BLKZEROOUT;
    const std::array<uint64_t, 2> range{offset(), offset()};
    if (opened != nullptr) call_honestly(*opened, command, range);
  }

  void settings() {
    OpenNode* opened = handle();
    loop_info64 info{};
    info.lo_offset = offset();
    info.lo_sizelimit = offset();
    info.lo_flags = input_.byte() & 0x1d;
    if (opened != nullptr) call_honestly(*opened, LOOP_SET_STATUS64, info);
  }

  // BLKPG with numbers that may go together.
  void edit() {
    OpenNode* opened = handle();
    if (opened == nullptr) return;
    struct {
      blkpg_ioctl_arg argument;
      blkpg_partition partition;
    } memory{};
    memory.argument.op = static_cast<int>(input_.below(4));
    memory.argument.data = reinterpret_cast<void*>(kAddress);
    memory.partition.pno = static_cast<int>(input_.below(9));
    memory.partition.start = input_.byte() * 512LL;
    memory.partition.length = input_.byte() * 512LL;
    call_honestly(*opened, BLKPG, memory);
  }

  uint64_t offset() {
    const uint8_t byte = input_.byte();
    return byte < 200 ? byte * uint64_t{512} : input_.take<uint64_t>();
  }

  void read() {
    OpenNode* opened = handle();
    const uint64_t at = offset();
    std::vector<std::byte> bytes(input_.byte() * size_t{64});
    if (opened == nullptr) return;
    const auto size = size_of(*opened);
    const auto got = opened->read(at, bytes);
    FUZZ_CHECK(!got || *got <= bytes.size());
    if (got && *got > 0) FUZZ_CHECK(at < size && *got <= size - at);
  }

  void write() {
    OpenNode* opened = handle();
    const uint64_t at = offset();
    const std::string_view text = input_.bytes(input_.byte() * size_t{8});
    if (opened == nullptr) return;
    const auto size = size_of(*opened);
    const auto put = opened->write(at, std::as_bytes(std::span(text)));
    FUZZ_CHECK(!put || *put <= text.size());
    if (put && *put > 0) FUZZ_CHECK(at < size && *put <= size - at);
    (void)opened->sync(text.empty());
  }

  void allocate() {
    OpenNode* opened = handle();
    static constexpr int kModes[] = {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                     FALLOC_FL_ZERO_RANGE,
                                     FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                     0,
                                     0x80,
                                     0xff};
    const int mode = input_.one_of(kModes);
    const uint64_t at = offset(), length = offset();
    if (opened != nullptr) (void)opened->allocate(mode, at, length);
  }

  uint64_t size_of(const OpenNode& opened) {
    const auto attributes = engine_->attributes(opened.id());
    return attributes ? attributes->size : 0;
  }

  // Behind the engine's back, as the owner of the file may.
  void change_file() {
    const int file = files_.image(input_.byte());
    const uint8_t byte = input_.byte();
    if (byte < 64) {
      FUZZ_CHECK(::ftruncate(file, byte * (Files::kMost / 64)) == 0);
    } else {
      const std::string_view text = input_.bytes(byte);
      const off_t at = byte < 128 ? 446 : input_.byte() * off_t{512};
      (void)!::pwrite(file, text.data(), text.size(), at);
      (void)!::pwrite(file, "\x55\xaa", 2, at / 512 * 512 + 510);
      FUZZ_CHECK(::fcntl(file, F_SETFL, (byte & 1) != 0 ? O_APPEND : 0) == 0);
    }
  }

  void rights() {
    const uint8_t bits = input_.byte();
    caller_.sys_admin = (bits & 1) == 0;
    caller_.refuse = (bits & 6) == 6;
    caller_.refuse_stat = (bits & 56) == 56;
  }

  void hold() {
    const NodeId id = node();
    auto held = engine_->hold_for_mount(id, input_.below(2) == 0);
    if (!held) return;
    FUZZ_CHECK((*held)->offset() <= uint64_t{INT64_MAX} &&
               (*held)->size() <= uint64_t{INT64_MAX} - (*held)->offset());
    FUZZ_CHECK((*held)->backing_fd() >= 0);
    holds_.push_back(std::move(*held));
    if (holds_.size() > 2) holds_.erase(holds_.begin());
  }

  void unlink() { (void)engine_->unlink(node()); }

  void attributes() {
    const NodeId id = node();
    const uint8_t bits = input_.byte();
    engine::AttributeChange change;
    if ((bits & 1) != 0) change.mode = input_.take<uint32_t>();
    if ((bits & 2) != 0) change.uid = bits;
    (void)engine_->change_attributes(id, change);
    const auto known = engine_->attributes(id);
    FUZZ_CHECK(!known || (known->id == id && (known->mode & ~07777u) == 0));
    (void)engine_->state(id.device);
  }

  Input& input_;
  Files files_;
  LyingCaller caller_;
  Watcher watcher_;
  std::unique_ptr<engine::UserEngine> engine_;
  std::vector<std::unique_ptr<OpenNode>> open_;
  std::vector<std::unique_ptr<engine::MountHold>> holds_;
};

}  // namespace
}  // namespace loopfs::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr int kMostSteps = 60;
  loopfs::fuzz::Input input(data, size);
  loopfs::fuzz::Run run(input);
  for (int i = 0; i < kMostSteps && !input.empty(); ++i) {
    run.step();
    if (i % 8 == 0) run.check();
  }
  run.check();
  return 0;
}
