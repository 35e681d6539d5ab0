#include "varlink/dispatcher.h"

#include <spdlog/spdlog.h>

#include <exception>
#include <utility>

namespace loopfs::varlink {
namespace {

constexpr char kServiceName[] = "org.varlink.service";

// https://varlink.org/Service
constexpr char kServiceDescription[] =
    R"(# The Varlink Service Interface is provided by every varlink service. It
# describes the service and the interfaces it implements.
interface org.varlink.service

# Get a list of all the interfaces a service provides and information
# about the implementation.
method GetInfo() -> (
  vendor: string,
  product: string,
  version: string,
  url: string,
  interfaces: []string
)

# Get the description of an interface that is implemented by this service.
method GetInterfaceDescription(interface: string) -> (description: string)

# The requested interface was not found.
error InterfaceNotFound (interface: string)

# The requested method was not found
error MethodNotFound (method: string)

# The interface defines the requested method, but the service does not
# implement it.
error MethodNotImplemented (method: string)

# One of the passed parameters is invalid.
error InvalidParameter (parameter: string)

# Client is denied access
error PermissionDenied ()

# Method is expected to be called with 'more' set to true, but wasn't
error ExpectedMore ()
)";

}  // namespace

// NOLINTNEXTLINE(performance-unnecessary-value-param): they are moved from
Result<Dispatcher> Dispatcher::create(const Information& information, std::vector<Interface> interfaces) {
  Dispatcher dispatcher;
  // Its methods are not in the map: they need this object, which moves.
  dispatcher.interfaces_[kServiceName] = {kServiceName, kServiceDescription, {}};
  for (Interface& interface : interfaces) {
    if (interface.name.empty()) return fail(EINVAL, "varlink interface without a name");
    const std::string name = interface.name;
    if (!dispatcher.interfaces_.try_emplace(name, std::move(interface)).second) {
      return fail(EINVAL, "varlink interface '{}' twice", name);
    }
  }
  Json names = Json::array();
  for (const auto& [name, interface] : dispatcher.interfaces_) names.push_back(name);
  dispatcher.information_ = {{"vendor", information.vendor},
                             {"product", information.product},
                             {"version", information.version},
                             {"url", information.url},
                             {"interfaces", names}};
  return dispatcher;
}

bool Dispatcher::dispatch(Call& call) const {
  try {
    find_and_run(call);
  } catch (const Json::exception& error) {
    // Parameters of another type than the handler took for granted.
    spdlog::debug("varlink: {}: {}", call.method(), error.what());
    if (!call.answered()) (void)call.invalid_parameter("parameters");
  } catch (const std::exception& error) {
    spdlog::warn("varlink: {}: {}", call.method(), error.what());
  } catch (...) {
    spdlog::warn("varlink: {}: unknown exception", call.method());
  }
  return call.answered();
}

void Dispatcher::find_and_run(Call& call) const {
  const size_t dot = call.method().rfind('.');
  if (dot == std::string::npos) return void(call.invalid_parameter("method"));
  const std::string interface_name = call.method().substr(0, dot);
  const std::string name = call.method().substr(dot + 1);
  const auto interface = interfaces_.find(interface_name);
  if (interface == interfaces_.end()) {
    return void(call.error(kInterfaceNotFound, {{"interface", interface_name}}));
  }
  if (interface_name == kServiceName && name == "GetInfo") return void(call.reply(information_));
  if (interface_name == kServiceName && name == "GetInterfaceDescription")
    return get_interface_description(call);
  const auto method = interface->second.methods.find(name);
  if (method == interface->second.methods.end()) {
    return void(call.error(kMethodNotFound, {{"method", call.method()}}));
  }
  if (!method->second || call.wants_upgrade()) {
    return void(call.error(kMethodNotImplemented, {{"method", call.method()}}));
  }
  method->second(call);
}

void Dispatcher::get_interface_description(Call& call) const {
  const auto name = call.parameters().find("interface");
  if (name == call.parameters().end() || !name->is_string()) return void(call.invalid_parameter("interface"));
  const auto interface = interfaces_.find(name->get<std::string>());
  if (interface == interfaces_.end()) return void(call.error(kInterfaceNotFound, {{"interface", *name}}));
  (void)call.reply({{"description", interface->second.description}});
}

}  // namespace loopfs::varlink
