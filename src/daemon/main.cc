// The program `loopfsd`: its keeper, or, started by that, its server.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "daemon/keep.h"
#include "daemon/server.h"
#include "kernel/device_pool.h"
#include "kernel/partition_worker.h"

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == loopfs::kernel::kScanOption)
    return loopfs::kernel::scan_standard_input();
  CLI::App app{"Serves instances of private loop devices to containers."};
  app.name("loopfsd");
  app.set_version_flag("--version", "loopfsd " LOOPFS_VERSION);
  loopfs::daemon::KeepOptions keep;
  loopfs::daemon::ServerOptions server;
  app.add_option("--config", keep.config, "Read this file in place of /etc/loopfs/loopfs.toml")
      ->type_name("FILE");
  app.add_option("--socket", keep.socket, "Listen here in place of the configured path")->type_name("PATH");
  app.add_option("--first-device", keep.first_device, "Make kernel loop devices from this number on")
      ->type_name("N")
      ->check(CLI::Range(
          64U, loopfs::kernel::DevicePool::kEndOfPools - loopfs::kernel::DevicePool::kDefaultCount));
  app.add_option("--pid-file", keep.pid_file, "Keep the daemon's process number in this file")
      ->type_name("FILE");
  app.add_flag("--foreground", keep.foreground, "Stay in the foreground, and log to standard error");
  // Of the keeper for its server.
  app.add_option("--store", server.store)->group("");
  app.add_flag("--silent", server.silent)->group("");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::string text = app.help();
    text.erase(text.find_last_not_of('\n') + 1);
    std::printf("%s\n", text.c_str());
    return 0;
  } catch (const CLI::CallForVersion& version) {
    std::printf("%s\n", version.what());
    return 0;
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "loopfsd: %s (try `loopfsd --help`)\n", error.what());
    return 2;
  }
  if (server.store < 0) return loopfs::daemon::keep(keep);
  server.config = keep.config;
  server.first_device = keep.first_device;
  return loopfs::daemon::serve(server);
}
