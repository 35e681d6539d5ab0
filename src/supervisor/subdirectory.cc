#include "supervisor/subdirectory.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <filesystem>
#include <optional>
#include <system_error>

#include "sys/procfs.h"

namespace loopfs::supervisor {
namespace {

// MNT_PATH_TMPTGT of libmount 2.38 and newer.
constexpr std::string_view kTemporary = "/run/mount/tmptgt/";

// The one mount namespace besides its own that the process has open.
std::optional<Fd> other_mount_namespace(const Target& target, const Fd& own) {
  const auto own_id = sys::namespace_id(own.get());
  if (!own_id) return std::nullopt;
  std::optional<Fd> found;
  std::error_code error;
  const std::string folder = fmt::format("/proc/{}/fd", target.notification().tid);
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string link = std::filesystem::read_symlink(entry.path(), error).string();
    if (!link.starts_with("mnt:[")) continue;
    // By now it may be another file, whose open would do something, or never return.
    const Fd file(::open(entry.path().c_str(), O_PATH | O_CLOEXEC));
    struct statfs status = {};
    if (!file.valid() || ::fstatfs(file.get(), &status) != 0 || status.f_type != NSFS_MAGIC) continue;
    Fd candidate(::open(fmt::format("/proc/self/fd/{}", file.get()).c_str(), O_RDONLY | O_CLOEXEC));
    if (!candidate.valid()) continue;
    const auto id = sys::namespace_id(candidate.get());
    if (!id || *id == *own_id) continue;
    if (found) return std::nullopt;
    found = std::move(candidate);
  }
  if (!target.valid()) return std::nullopt;
  return found;
}

}  // namespace

bool is_subdirectory_of_mount(const std::string& source) {
  return source.starts_with(kTemporary);
}

Answer bind_subdirectory(mounter::Agent& agent, const Target& target) {
  auto source = target.text(0);
  auto place = target.text(1);
  if (!source || !place) return std::nullopt;
  auto places = target.places();
  if (!places) return std::nullopt;
  const auto original = other_mount_namespace(target, (*places)[1]);
  if (!original) return std::nullopt;
  mounter::Request request;
  request.operation = mounter::Operation::kBindAcross;
  request.device_path = *source;
  request.path = target.visible_path(*place);
  return code_of_request(agent, target, *places, std::move(request), original->get());
}

}  // namespace loopfs::supervisor
