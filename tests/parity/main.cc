// Prints what each case of one fixed list of calls gives: parity DIRECTORY FOLDER, where DIRECTORY has the
// devices (/dev), or is "engine" for the engine without a mount, and FOLDER takes the backing files. With a
// group's name, only that; with --clean, removes what an interrupted run has left; with --old, a descriptor that was
// opened before its device was bound is not the one that binds it.
#include <cstdio>
#include <cstring>

#include "fixture.h"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: parity DIRECTORY|engine FOLDER [GROUP|--clean|--old]\n");
    return 2;
  }
  const bool keep_old = argc > 3 && std::strcmp(argv[3], "--old") == 0;
  const auto port =
      std::strcmp(argv[1], "engine") == 0 ? parity::engine_port() : parity::path_port(argv[1], keep_old);
  parity::Fixture fixture(*port, argv[2]);
  if (argc > 3 && std::strcmp(argv[3], "--clean") == 0) {
    fixture.end();
    return 0;
  }
  struct {
    const char* name;
    void (*run)(parity::Fixture&);
  } groups[] = {
      {"control", parity::control_cases}, {"bind", parity::bind_cases},
      {"status", parity::status_cases},   {"clear", parity::clear_cases},
      {"change", parity::change_cases},   {"property", parity::property_cases},
      {"block", parity::block_cases},     {"discard", parity::discard_cases},
      {"io", parity::io_cases},           {"direct", parity::direct_cases},
      {"file", parity::file_cases},       {"partition", parity::partition_cases},
      {"table", parity::table_cases},
  };
  for (const auto& group : groups) {
    if (argc > 3 && !keep_old && std::strcmp(argv[3], group.name) != 0) continue;
    fixture.begin(group.name);
    group.run(fixture);
    fixture.end();
  }
}
