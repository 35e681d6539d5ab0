// Gives a harness the inputs that are named, or are in the folders that are named: a corpus, or one that crashed.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "harness.h"

namespace {

bool replay(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  if (file.bad() || !file.is_open()) {
    std::fprintf(stderr, "replay: cannot read '%s'\n", path.c_str());
    return false;
  }
  std::fprintf(stderr, "%s\n", path.c_str());  // the last line names the one that crashed
  // A copy of that very size: AddressSanitizer then sees what is read behind it.
  const std::vector<uint8_t> input(bytes.begin(), bytes.end());
  (void)LLVMFuzzerTestOneInput(input.data(), input.size());
  return true;
}

}  // namespace

int main(int count, char** words) {
  size_t inputs = 0;
  for (int i = 1; i < count; ++i) {
    if (!std::filesystem::is_directory(words[i])) {
      if (!replay(words[i])) return 1;
      ++inputs;
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(words[i])) {
      if (!entry.is_regular_file()) continue;
      if (!replay(entry.path())) return 1;
      ++inputs;
    }
  }
  std::fprintf(stderr, "replay: %zu inputs\n", inputs);
  return inputs > 0 ? 0 : 1;  // none: the folder has been moved
}
