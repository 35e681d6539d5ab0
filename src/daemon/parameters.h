// What the methods of io.loopfs.Manager have in common: their parameters, and how they end.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>

#include "daemon/manager.h"
#include "varlink/call.h"

namespace loopfs::daemon {

// A parameter that is missing, or out of range: ends the call.
struct BadParameter {
  std::string name;
};

// None: it is not there.
std::optional<uint64_t> number_of(const varlink::Call& call, const char* name, uint64_t most);
std::optional<uint32_t> small_number_of(const varlink::Call& call, const char* name,
                                        uint32_t most = UINT32_MAX - 1);
// False, or none of them: it is not there.
bool truth_of(const varlink::Call& call, const char* name);
std::set<uint32_t> numbers_of(const varlink::Call& call, const char* name, uint32_t most);
// These must be there.
uint64_t wanted_number_of(const varlink::Call& call, const char* name, uint64_t most);
std::string text_of(const varlink::Call& call, const char* name);

const Tenant& caller_of(const varlink::Call& call);
// The instance that the call is about, if the caller is root where it belongs; else null, and the call has ended.
std::shared_ptr<Instance> own_instance(Manager& manager, varlink::Call& call, const Tenant& tenant);

void fail_call(varlink::Call& call, const Error& error);
void answer(varlink::Call& call, const Result<void>& result);

}  // namespace loopfs::daemon
