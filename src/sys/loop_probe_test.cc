#include "sys/loop_probe.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <functional>

namespace loopfs::sys {
namespace {

enum class Kernel { kOld, kNew };  // before 6.11, and since

// A device as drivers/block/loop.c has it, that is open by the one who probes and by `others`.
class FakeDevice : public ProbeDevice {
 public:
  explicit FakeDevice(Kernel kernel) : kernel_(kernel) {}

  int others = 0;
  std::function<void(FakeDevice&)> before_clear, before_status, before_bind_again;  // what others do then

  Result<void> bind() override {
    if (++binds_ == 2) act(before_bind_again);
    if (state_ != State::kUnbound) return fail(EBUSY, "LOOP_CONFIGURE");
    state_ = State::kBound;
    return {};
  }
  Result<void> clear() override {
    act(before_clear);
    if (state_ != State::kBound) return fail(ENXIO, "LOOP_CLR_FD");
    if (others > 0) return {};  // marked as autoclear
    state_ = kernel_ == Kernel::kOld ? State::kUnbound : State::kRundown;
    return {};
  }
  Result<void> status() override {
    act(before_status);
    if (state_ != State::kBound) return fail(ENXIO, "LOOP_GET_STATUS64");
    return {};
  }

  // By somebody else.
  void bind_too() {
    if (state_ == State::kUnbound) state_ = State::kBound;
  }
  bool bound() const { return state_ == State::kBound; }

 private:
  enum class State { kUnbound, kBound, kRundown };

  void act(std::function<void(FakeDevice&)>& what) {
    if (auto once = std::exchange(what, nullptr)) once(*this);
  }

  const Kernel kernel_;
  State state_ = State::kUnbound;
  int binds_ = 0;
};

constexpr LastClose kRight[] = {LastClose::kDoesNot, LastClose::kDecides};
constexpr Kernel kKernels[] = {Kernel::kOld, Kernel::kNew};

LastClose right(Kernel kernel) {
  return kRight[kernel == Kernel::kNew ? 1 : 0];
}

LastClose answer(FakeDevice& device) {
  const auto tried = try_last_close(device);
  EXPECT_TRUE(tried) << tried.error().message();
  return tried.value_or(LastClose::kNotTold);
}

TEST(LoopProbe, TheOnlyOpenerIsTold) {
  for (const Kernel kernel : kKernels) {
    FakeDevice device(kernel);
    EXPECT_EQ(answer(device), right(kernel));
    EXPECT_FALSE(device.bound());
  }
}

TEST(LoopProbe, AnotherOpenerHidesIt) {
  for (const Kernel kernel : kKernels) {
    FakeDevice device(kernel);
    device.others = 1;
    EXPECT_EQ(answer(device), LastClose::kNotTold);
  }
}

// Its open counts when LOOP_CLR_FD looks; what it does after that does not.
TEST(LoopProbe, AnOpenerWhoComesOrGoes) {
  const auto come = [](FakeDevice& device) { device.others = 1; };
  const auto go = [](FakeDevice& device) { device.others = 0; };
  for (const Kernel kernel : kKernels) {
    FakeDevice comes(kernel);
    comes.before_clear = come;
    EXPECT_EQ(answer(comes), LastClose::kNotTold);
    FakeDevice goes(kernel);
    goes.others = 1;
    goes.before_clear = go;
    EXPECT_EQ(answer(goes), right(kernel));
    for (auto when : {&FakeDevice::before_status, &FakeDevice::before_bind_again}) {
      FakeDevice goes_later(kernel);
      goes_later.others = 1;
      goes_later.*when = go;
      EXPECT_EQ(answer(goes_later), LastClose::kNotTold);
      FakeDevice comes_later(kernel);
      comes_later.*when = come;
      EXPECT_EQ(answer(comes_later), right(kernel));
    }
  }
}

TEST(LoopProbe, AnotherBinderIsNotTakenForTheKernel) {
  const auto bind = [](FakeDevice& device) { device.bind_too(); };
  FakeDevice before(Kernel::kOld);
  before.before_status = bind;
  EXPECT_EQ(answer(before), LastClose::kNotTold);
  FakeDevice between(Kernel::kOld);
  between.before_bind_again = bind;
  EXPECT_EQ(answer(between), LastClose::kNotTold);
  EXPECT_TRUE(between.bound());  // it is theirs
  FakeDevice nothing_to_bind(Kernel::kNew);
  nothing_to_bind.before_bind_again = bind;
  EXPECT_EQ(answer(nothing_to_bind), LastClose::kDecides);
  FakeDevice first(Kernel::kNew);
  first.bind_too();
  EXPECT_EQ(answer(first), LastClose::kNotTold);
}

TEST(LoopProbe, ErrorsAreNoAnswer) {
  struct Broken : FakeDevice {
    using FakeDevice::FakeDevice;
    int bind_error = 0, clear_error = 0, status_error = 0, good_binds = 0;
    Result<void> bind() override {
      if (good_binds-- > 0 || bind_error == 0) return FakeDevice::bind();
      return fail(bind_error, "LOOP_CONFIGURE");
    }
    Result<void> clear() override {
      return clear_error != 0 ? Result<void>(fail(clear_error, "LOOP_CLR_FD")) : FakeDevice::clear();
    }
    Result<void> status() override {
      return status_error != 0 ? Result<void>(fail(status_error, "LOOP_GET_STATUS64")) : FakeDevice::status();
    }
  };
  for (const Kernel kernel : kKernels) {
    Broken first(kernel), second(kernel), clear(kernel), status(kernel);
    first.bind_error = second.bind_error = EINVAL;
    second.good_binds = 1;
    clear.clear_error = EINTR;
    status.status_error = EOVERFLOW;
    EXPECT_EQ(try_last_close(first).error().code, EINVAL);
    EXPECT_EQ(try_last_close(second).error().code, EINVAL);
    EXPECT_EQ(try_last_close(clear).error().code, EINTR);
    EXPECT_EQ(try_last_close(status).error().code, EOVERFLOW);
  }
}

TEST(LoopProbe, TriesUntilItIsTold) {
  for (const Kernel kernel : kKernels) {
    unsigned devices = 0, pauses = 0;
    const auto attempt = [&](const std::function<void()>& settle) {
      settle();
      EXPECT_EQ(pauses, devices);  // none before the first
      FakeDevice device(kernel);
      device.others = ++devices < 4 ? 1 : 0;
      return try_last_close(device);
    };
    const auto told = clears_at_last_close(attempt, [&] { return ++pauses < 100; });
    ASSERT_TRUE(told);
    EXPECT_EQ(*told, kernel == Kernel::kNew);
    EXPECT_EQ(devices, 4u);
  }
}

TEST(LoopProbe, WhoNeverLetsGoIsAnErrorAndNotANo) {
  for (const Kernel kernel : kKernels) {
    unsigned devices = 0, pauses = 0;
    const auto attempt = [&](const std::function<void()>& settle) {
      settle();
      ++devices;
      FakeDevice device(kernel);
      device.others = 1;
      return try_last_close(device);
    };
    EXPECT_EQ(clears_at_last_close(attempt, [&] { return ++pauses < 5; }).error().code, EAGAIN);
    EXPECT_EQ(devices, 6u);
  }
}

TEST(LoopProbe, AnErrorEndsIt) {
  const auto attempt = [](const std::function<void()>&) -> Result<LastClose> { return fail(ENOENT, "open"); };
  EXPECT_EQ(clears_at_last_close(attempt, [] { return true; }).error().code, ENOENT);
}

}  // namespace
}  // namespace loopfs::sys
