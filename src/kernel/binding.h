// One binding of a kernel loop device to a file.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "base/error.h"
#include "base/fd.h"
#include "sys/file_identity.h"
#include "sys/loop_device.h"

namespace loopfs::kernel {

// Known by the device's number and disk sequence number. It ends when the kernel unbinds the device, at the
// last close; nothing of ours keeps it alive but Passes and the native descriptors of open handles.
//
// Not holding the device open is on purpose: the kernel writes a device's page cache out at its last close,
// and the programs inside count on finding in the file what they have written to the device.
class Binding : public std::enable_shared_from_this<Binding> {
 public:
  // The device is bound now, and `device` is open on it. Errors: ENXIO it is not.
  static Result<std::shared_ptr<Binding>> of(uint32_t number, int device, const sys::FileIdentity& file,
                                             std::string backing_path);

  // One that an earlier process had, without opening the device: nobody can open one that has been cleared and is
  // still open. Null: it has ended.
  static std::shared_ptr<Binding> again(uint32_t number, uint64_t sequence,
                                        std::shared_ptr<const sys::LoopBinding> token,
                                        const sys::FileIdentity& file, std::string backing_path);

  uint32_t number() const { return number_; }
  uint64_t sequence() const { return sequence_; }
  // The file that it was bound to, and the path it had then.
  const sys::FileIdentity& file() const { return file_; }
  const std::string& backing_path() const { return backing_path_; }
  const std::shared_ptr<const sys::LoopBinding>& token() const { return token_; }
  // None: no longer bound. These two ask nobody who could hang.
  std::optional<bool> autoclear() const { return token_->autoclear(); }
  bool bound() const { return token_->bound(); }

  // Opens the device or a partition of it, and makes sure that it is still this binding: while the descriptor
  // is open, it stays. May block. Errors: ESTALE it is another, ENXIO, ENOENT.
  Result<Fd> open(uint32_t partition, int flags) const;
  // The disk's sequence number now: LOOP_CHANGE_FD, which does not end the binding, changes it. Errors: ENXIO.
  Result<uint64_t> current_sequence() const;
  // Whether a descriptor of a disk or a partition is of this binding.
  bool has_open(int device) const;

  // Keeps the device, or a partition, what it is while a caller is on its way to it.
  class Pass {
   public:
    Pass(std::shared_ptr<Binding> binding, uint32_t partition, unsigned minor_number, Fd device);
    ~Pass();
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

    bool is_for(const Binding* binding, uint32_t partition, unsigned minor_number) const {
      return binding_.get() == binding && partition_ == partition && minor_number_ == minor_number;
    }

   private:
    const std::shared_ptr<Binding> binding_;
    const uint32_t partition_;
    const unsigned minor_number_;
    Fd device_;
  };
  // `minor_number`: of the device or partition, as the caller will come to open it.
  // Errors: as open(); ESTALE it has another number; EBUSY too many are under way.
  Result<std::shared_ptr<Pass>> pass(uint32_t partition, unsigned minor_number);

  // Whether it will be unbound at its last close.
  bool ending() const { return token_->autoclear() == true; }

  // Whether a mount, or somebody else, has an exclusive claim on the device.
  bool claimed() const;

  // If the device is about to be unbound by the end of the last pass, waits for that, a few ms at most.
  void settle();

 private:
  Binding(uint32_t number, uint64_t sequence, std::shared_ptr<const sys::LoopBinding> token,
          const sys::FileIdentity& file, std::string backing_path);

  const uint32_t number_;
  const uint64_t sequence_;
  const std::shared_ptr<const sys::LoopBinding> token_;
  const sys::FileIdentity file_;
  const std::string backing_path_;
  std::mutex mutex_;  // guards passes_
  std::condition_variable passed_;
  unsigned passes_ = 0;
};

}  // namespace loopfs::kernel
