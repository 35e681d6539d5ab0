#include "cli/manager_options.h"

#include "base/number.h"
#include "cli/usage.h"

namespace loopfs::cli {
namespace {

// CLI11 takes "-1" for the largest number.
std::string refuse_minus(const std::string& text) {
  return text.starts_with('-') ? "not below 0: " + text : "";
}

void add_daemon_options(CLI::App* command, ManagerOptions& options) {
  command->add_flag("--json", options.json, "Print JSON");
  command->add_option("--socket", options.socket, "Where loopfsd listens")
      ->type_name("PATH")
      ->capture_default_str();
}

void add_instance_option(CLI::App* command, std::string& instance) {
  command->add_option("--instance", instance, "Where the instance is mounted")
      ->type_name("DIR")
      ->capture_default_str();
}

// Bytes, also as "4K" or "1M".
template <typename Number>
void add_bytes(CLI::App* command, const char* name, Number& number, const char* what) {
  CLI::Validator bytes = CLI::AsSizeValue(/*kb_is_1000=*/false);
  command->add_option(name, number, what)
      ->transform(bytes.description(""))
      ->check(refuse_minus)
      ->type_name("N");
}

}  // namespace

ManagerCommandLine::ManagerCommandLine(CLI::App& app) {
  list_command_ =
      add_command(app, "ls", "List the instances of loopfsd and their devices.", "loopfs ls [OPTIONS]");
  list_command_->add_flag("-a,--all", list.all, "Devices that have no file, too");
  add_daemon_options(list_command_, list);
  inspect_command_ =
      add_command(app, "inspect", "Show everything about an instance.", "loopfs inspect [OPTIONS] INSTANCE");
  inspect_command_->add_option("instance", inspect.instance, "Its number, as `loopfs ls` shows it")
      ->type_name("INSTANCE")
      ->check(refuse_minus)
      ->required();
  add_daemon_options(inspect_command_, inspect);
  events_command_ =
      add_command(app, "events", "Tell of changes as they happen, one a line.", "loopfs events [OPTIONS]");
  add_daemon_options(events_command_, events);
  add_limit(app);
  add_attach(app);
  detach_command_ = add_command(app, "detach", "Free a device, or the devices of a file.",
                                "loopfs detach [OPTIONS] DEVICE|FILE");
  add_instance_option(detach_command_, detach.instance);
  detach_command_->add_option("device", detach.what, "loopN of the instance, its path, or a file")
      ->type_name("DEVICE|FILE")
      ->required();
}

void ManagerCommandLine::add_limit(CLI::App& app) {
  limit_command_ =
      add_command(app, "limit", "Show what is counted and allowed, or allow a user another number.",
                  "loopfs limit [OPTIONS] [--uid UID N|default]");
  add_daemon_options(limit_command_, limit);
  limit_command_->add_option("--kind", limit.kind, "Of what: devices or instances")
      ->type_name("KIND")
      ->check(CLI::IsMember({"devices", "instances"}))
      ->capture_default_str();
  limit_command_->add_option("--uid", uid_, "Set the limit of this user")
      ->type_name("UID")
      ->check(CLI::Range(0U, UINT32_MAX - 1));
  limit_command_->add_option("limit", new_limit_, "The most that the user may have; default: as configured")
      ->type_name("N|default");
}

void ManagerCommandLine::add_attach(CLI::App& app) {
  attach_command_ =
      add_command(app, "attach", "Bind a file to a free device of an instance, and print its path.",
                  "loopfs attach [OPTIONS] FILE");
  add_instance_option(attach_command_, attach.instance);
  add_bytes(attach_command_, "--offset", attach.offset, "Start there in the file, in bytes");
  add_bytes(attach_command_, "--sizelimit", attach.sizelimit, "Use at most so many bytes of the file");
  attach_command_->add_flag("-r,--read-only", attach.read_only, "Bind it read-only");
  attach_command_->add_flag("-P,--partscan", attach.partscan, "Look for partitions");
  attach_command_->add_option("--direct-io", direct_io_, "Go past the page cache: on or off")
      ->type_name("on|off")
      ->check(CLI::IsMember({"on", "off"}));
  add_bytes(attach_command_, "--block-size", attach.block_size, "Logical block size, in bytes");
  attach_command_->add_option("file", attach.file, "The file")->type_name("FILE")->required();
}

Result<void> ManagerCommandLine::check() {
  if (!direct_io_.empty()) attach.direct_io = direct_io_ == "on";
  if (is_attach() && attach.file.empty()) return fail(EINVAL, "attach: no file given");
  if (is_detach() && detach.what.empty()) return fail(EINVAL, "detach: no device given");
  if (!is_limit()) return {};
  const bool has_uid = limit_command_->count("--uid") > 0;
  if (has_uid != !new_limit_.empty() || (!has_uid && limit_command_->count("--kind") > 0)) {
    return fail(EINVAL, "limit: to set one, --uid UID and N or \"default\" are needed");
  }
  if (!has_uid) return {};
  limit.uid = uid_;
  if (new_limit_ == "default") return {};
  limit.limit = base::parse_number<uint32_t>(new_limit_);
  if (!limit.limit) return fail(EINVAL, "limit: a number or \"default\" is wanted, not '{}'", new_limit_);
  return {};
}

}  // namespace loopfs::cli
