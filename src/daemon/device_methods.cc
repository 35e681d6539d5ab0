#include "daemon/device_methods.h"

#include <nlohmann/json.hpp>

#include "daemon/parameters.h"
#include "sys/loop_device.h"
#include "sys/pidfd.h"

namespace loopfs::daemon {

using varlink::Call;

namespace {

// How many are right is for the table of ioctls to say.
std::vector<std::byte> bytes_of(const Call& call, const char* name) {
  std::vector<std::byte> bytes;
  const auto found = call.parameters().find(name);
  if (found == call.parameters().end() || found->is_null()) return bytes;
  if (!found->is_array()) throw BadParameter{name};
  for (const auto& byte : *found) {
    if (!byte.is_number_unsigned() || byte.get<uint64_t>() > UINT8_MAX) throw BadParameter{name};
    bytes.push_back(static_cast<std::byte>(byte.get<uint8_t>()));
  }
  return bytes;
}

}  // namespace

void device_ioctl(Manager& manager, Call& call) {
  const Tenant& tenant = caller_of(call);
  const auto device = static_cast<uint32_t>(wanted_number_of(call, "device", UINT32_MAX));
  const auto number = static_cast<int>(wanted_number_of(call, "descriptor", INT32_MAX));
  const porter::DeviceIoctl wanted{
      .command = static_cast<unsigned>(wanted_number_of(call, "command", UINT32_MAX)),
      .value = number_of(call, "value", UINT64_MAX).value_or(0),
      .bytes = bytes_of(call, "bytes")};
  const auto instance = own_instance(manager, call, tenant);
  if (!instance) return;
  // The process may be another program by now; what is done with its descriptor is what its own user may have done.
  const auto pid = sys::pid_of_pidfd(call.peer().pidfd.get());
  if (!pid) return fail_call(call, pid.error());
  answer(call, instance->engine->ioctl(device, wanted, *pid, number, call.socket_fd()));
}

void edit_partition(Manager& manager, Call& call) {
  const Tenant& tenant = caller_of(call);
  const auto device = static_cast<uint32_t>(wanted_number_of(call, "device", UINT32_MAX));
  const sys::PartitionEdit edit{.operation = static_cast<int>(wanted_number_of(call, "operation", 3)),
                                .number = static_cast<int>(wanted_number_of(call, "partition", INT32_MAX)),
                                .start = static_cast<int64_t>(wanted_number_of(call, "start", INT64_MAX)),
                                .length = static_cast<int64_t>(wanted_number_of(call, "length", INT64_MAX))};
  if (const auto instance = own_instance(manager, call, tenant)) {
    answer(call, instance->engine->edit_partition(device, edit));
  }
}

}  // namespace loopfs::daemon
