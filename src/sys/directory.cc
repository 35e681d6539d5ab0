#include "sys/directory.h"

#include <dirent.h>

#include <algorithm>
#include <memory>

#include "base/number.h"

namespace loopfs::sys {

std::vector<uint32_t> numbers_in(const std::string& path, std::string_view prefix) {
  std::vector<uint32_t> numbers;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), ::closedir);
  while (const dirent* entry = directory ? ::readdir(directory.get()) : nullptr) {
    const std::string_view name(entry->d_name);
    if (!name.starts_with(prefix)) continue;
    if (const auto number = base::parse_number<uint32_t>(name.substr(prefix.size())))
      numbers.push_back(*number);
  }
  std::ranges::sort(numbers);
  return numbers;
}

}  // namespace loopfs::sys
