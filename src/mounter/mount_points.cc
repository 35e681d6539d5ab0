#include "mounter/mount_points.h"

#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <sstream>

namespace loopfs::mounter {
namespace {

bool octal(char digit) {
  return digit >= '0' && digit <= '7';
}

// mountinfo writes blanks and the like as \ooo.
std::string unescape(const std::string& text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && octal(text[i + 1]) && octal(text[i + 2]) &&
        octal(text[i + 3])) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

}  // namespace

std::vector<std::string> mount_points(const std::string& mountinfo, dev_t device) {
  const std::string wanted = fmt::format("{}:{}", major(device), minor(device));
  std::vector<std::string> points;
  std::istringstream lines(mountinfo);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string id, parent, number, root, point;
    fields >> id >> parent >> number >> root >> point;
    if (number == wanted && root == "/") points.push_back(unescape(point));
  }
  return points;
}

}  // namespace loopfs::mounter
