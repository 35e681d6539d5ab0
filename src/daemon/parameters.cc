#include "daemon/parameters.h"

#include <nlohmann/json.hpp>

namespace loopfs::daemon {

using varlink::Call;

std::optional<uint64_t> number_of(const Call& call, const char* name, uint64_t most) {
  const auto found = call.parameters().find(name);
  if (found == call.parameters().end() || found->is_null()) return std::nullopt;
  if (!found->is_number_unsigned() || found->get<uint64_t>() > most) throw BadParameter{name};
  return found->get<uint64_t>();
}

std::optional<uint32_t> small_number_of(const Call& call, const char* name, uint32_t most) {
  const auto number = number_of(call, name, most);
  if (!number) return std::nullopt;
  return static_cast<uint32_t>(*number);
}

bool truth_of(const Call& call, const char* name) {
  const auto found = call.parameters().find(name);
  if (found == call.parameters().end() || found->is_null()) return false;
  if (!found->is_boolean()) throw BadParameter{name};
  return found->get<bool>();
}

std::set<uint32_t> numbers_of(const Call& call, const char* name, uint32_t most) {
  std::set<uint32_t> numbers;
  const auto found = call.parameters().find(name);
  if (found == call.parameters().end() || found->is_null()) return numbers;
  if (!found->is_array()) throw BadParameter{name};
  for (const auto& number : *found) {
    if (!number.is_number_unsigned() || number.get<uint64_t>() > most) throw BadParameter{name};
    numbers.insert(number.get<uint32_t>());
  }
  return numbers;
}

uint64_t wanted_number_of(const Call& call, const char* name, uint64_t most) {
  const auto number = number_of(call, name, most);
  if (!number) throw BadParameter{name};
  return *number;
}

std::string text_of(const Call& call, const char* name) {
  const auto found = call.parameters().find(name);
  if (found == call.parameters().end() || !found->is_string()) throw BadParameter{name};
  return found->get<std::string>();
}

// As the admission of the server has it.
const Tenant& caller_of(const Call& call) {
  return static_cast<const Tenant&>(*call.caller());
}

std::shared_ptr<Instance> own_instance(Manager& manager, Call& call, const Tenant& tenant) {
  const uint64_t id = wanted_number_of(call, "instance", UINT64_MAX);
  for (auto& instance : manager.instances(tenant)) {
    if (instance->record.id == id) return std::move(instance);
  }
  fail_call(call, {ENOENT, fmt::format("instance {}", id)});
  return nullptr;
}

void fail_call(Call& call, const Error& error) {
  (void)call.error("io.loopfs.Manager.System", {{"errno", error.code}, {"message", error.what}});
}

void answer(Call& call, const Result<void>& result) {
  if (!result) return fail_call(call, result.error());
  (void)call.reply();
}

}  // namespace loopfs::daemon
