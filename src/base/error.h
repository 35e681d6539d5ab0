// Errors as values: what was tried, on what, and the errno that says why it failed.
//
// Result<T> is the return type of everything that can fail for a reason outside the program.
//   return fail(EBUSY, "loop{}: in use", n);            an error of our own
//   return errno_fail("open '{}'", path);               errno of the system call just made
//   if (!r) return propagate(r);                        hand an error on unchanged
//   if (!r) return propagate(r, "attach '{}'", file);   hand it on with context in front
#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace loopfs::base {

struct Error {
  int code = 0;      // errno value
  std::string what;  // the act and its operand, without the text of the errno

  // "attach 'a.img': LOOP_CONFIGURE loop3: Device or resource busy"
  std::string message() const;
};

template <typename T>
using Result = tl::expected<T, Error>;

template <typename... Args>
tl::unexpected<Error> fail(int code, fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Error>(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}

template <typename... Args>
tl::unexpected<Error> errno_fail(fmt::format_string<Args...> format, Args&&... args) {
  const int code = errno;  // before anything that formats can change it
  return tl::unexpected<Error>(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}

template <typename T>
tl::unexpected<Error> propagate(const Result<T>& result) {
  return tl::unexpected<Error>(result.error());
}

template <typename T, typename... Args>
tl::unexpected<Error> propagate(const Result<T>& result, fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Error>(Error{
      result.error().code, fmt::format(format, std::forward<Args>(args)...) + ": " + result.error().what});
}

}  // namespace loopfs::base

namespace loopfs {
using base::errno_fail;
using base::Error;
using base::fail;
using base::propagate;
using base::Result;
}  // namespace loopfs
