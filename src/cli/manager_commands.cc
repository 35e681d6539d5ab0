#include "cli/manager_commands.h"

#include <fmt/format.h>

#include <cstdio>

#include "base/printable.h"
#include "cli/manager_text.h"
#include "varlink/client.h"

namespace loopfs::cli {
namespace {

using varlink::Client;

int report(const char* command, const Error& error, const char* hint = "") {
  fmt::print(stderr, "loopfs: {}: {}{}\n", command, base::to_printable(error.message()), hint);
  return 1;
}

// `act` gets a connection, and returns the exit status or what went wrong.
template <typename Act>
int with_daemon(const char* command, const ManagerOptions& options, Act&& act) {
  auto client = Client::connect(options.socket);
  if (!client) {
    const int code = client.error().code;
    const bool nobody = code == ENOENT || code == ECONNREFUSED;
    return report(command, client.error(), nobody ? " (is loopfsd running?)" : "");
  }
  const Result<void> acted = act(*client);
  return acted ? 0 : report(command, acted.error());
}

// At once: the reader may be a pipe that waits for each line.
Result<void> print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return errno_fail("write to standard output");
  }
  return {};
}

Result<std::vector<Json>> instances_of(Client& client, std::optional<uint64_t> wanted) {
  Json parameters = Json::object();
  if (wanted) parameters["instance"] = *wanted;
  std::vector<Json> all;
  auto listed =
      client.call_more("io.loopfs.Manager.List", std::move(parameters), [&all](varlink::Reply reply) {
        const auto found = reply.parameters.find("instances");
        if (found == reply.parameters.end() || !found->is_array()) return true;
        for (Json& instance : *found) all.push_back(std::move(instance));
        return true;
      });
  if (!listed) return propagate(listed);
  return all;
}

Result<void> show_limits(Client& client, bool json) {
  const auto reply = client.call("io.loopfs.Manager.Limits");
  if (!reply) return propagate(reply);
  return print(json ? json_text(reply->parameters) + "\n" : limits_table(reply->parameters));
}

Result<void> set_limit(Client& client, const LimitOptions& options) {
  Json parameters = {{"kind", options.kind}, {"uid", *options.uid}};
  if (options.limit) parameters["limit"] = *options.limit;
  const auto reply = client.call("io.loopfs.Manager.SetLimit", std::move(parameters));
  if (!reply) return propagate(reply);
  return {};
}

}  // namespace

int list_instances(const ListOptions& options) {
  return with_daemon("ls", options, [&options](Client& client) -> Result<void> {
    auto instances = instances_of(client, std::nullopt);
    if (!instances) return propagate(instances);
    if (!options.json) return print(instances_table(*instances, options.all));
    return print(json_text({{"instances", std::move(*instances)}}) + "\n");
  });
}

int inspect(const InspectOptions& options) {
  return with_daemon("inspect", options, [&options](Client& client) -> Result<void> {
    const auto instances = instances_of(client, options.instance);
    if (!instances) return propagate(instances);
    if (instances->empty()) return fail(ENOENT, "instance {}", options.instance);
    const Json& instance = instances->front();
    return print(options.json ? json_text(instance) + "\n" : instance_text(instance));
  });
}

int follow_events(const EventsOptions& options) {
  return with_daemon("events", options, [&options](Client& client) -> Result<void> {
    Result<void> printed;
    auto followed = client.call_more("io.loopfs.Manager.Events", nullptr, [&](const varlink::Reply& reply) {
      printed = print((options.json ? json_text(reply.parameters) : event_text(reply.parameters)) + "\n");
      return printed.has_value();
    });
    return printed ? followed : printed;
  });
}

int limit(const LimitOptions& options) {
  return with_daemon("limit", options, [&options](Client& client) {
    return options.uid ? set_limit(client, options) : show_limits(client, options.json);
  });
}

}  // namespace loopfs::cli
