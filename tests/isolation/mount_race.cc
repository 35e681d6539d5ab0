// mount(2) of a node whose device is cleared and bound to another file meanwhile, by the entries of x86-64 and of i386.
// Only root of the machine may mount what is on a device: run it in a container without a user namespace.
//   mount_race DIRECTORY PREFIX FS0 FS1 PLACE SECONDS      FSn: ext4 images with a file "PREFIX" in their root
#include <sys/mman.h>
#include <sys/mount.h>

#include <thread>

#include "attack.h"

namespace {

#ifdef __x86_64__
char* g_low;  // strings that an i386 call can reach
#endif

long new_mount(const std::string& source, const std::string& place) {
  return mount(source.c_str(), place.c_str(), "ext4", MS_RDONLY, "noload") == 0 ? 0 : -errno;
}

long old_mount(const std::string& source, const std::string& place) {
#ifdef __x86_64__
  strcpy(g_low, source.c_str());
  strcpy(g_low + 1024, place.c_str());
  strcpy(g_low + 2048, "ext4");
  strcpy(g_low + 3072, "noload");
  long answer = 0;
  asm volatile("int $0x80"
               : "=a"(answer)
               : "a"(21), "b"(g_low), "c"(g_low + 1024), "d"(g_low + 2048), "S"(MS_RDONLY), "D"(g_low + 3072)
               : "memory", "r8", "r9", "r10", "r11");
  return answer;
#else
  return new_mount(source, place);
#endif
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) return 2;
  const std::string loop0 = node(argv[1], 0), prefix = argv[2], place = argv[5];
  const int files[2] = {open(argv[3], O_RDONLY | O_CLOEXEC), open(argv[4], O_RDONLY | O_CLOEXEC)};
  if (files[0] < 0 || files[1] < 0) broken("open %s or %s", argv[3], argv[4]);
  const bool has_old = has_old_entry();
#ifdef __x86_64__
  g_low = static_cast<char*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0));
  if (g_low == MAP_FAILED) broken("mmap below 4 GiB");
#endif
  const double end = now() + atof(argv[6]);
  std::atomic<unsigned long> binds{0};
  std::thread binder([&] {
    for (unsigned round = 0; now() < end; ++round) {
      const int loop = open(loop0.c_str(), O_RDONLY | O_CLOEXEC);
      if (loop >= 0 && is_block(loop))
        ioctl(loop, LOOP_CLR_FD);
      else if (loop >= 0 && configure(loop, files[round & 1], LO_FLAGS_READ_ONLY) == 0)
        ++binds;
      if (loop >= 0) close(loop);
      const timespec pause = {0, static_cast<long>(round % 8) * 300'000};
      nanosleep(&pause, nullptr);
    }
  });
  unsigned long mounted = 0, old_mounted = 0, refused = 0;
  for (unsigned round = 0; now() < end; ++round) {
    const bool old = has_old && (round & 1) != 0;
    const long answer = old ? old_mount(loop0, place) : new_mount(loop0, place);
    if (answer != 0) {
      ++refused;
      continue;
    }
    ++(old ? old_mounted : mounted);
    struct stat status;
    if (stat((place + "/" + prefix).c_str(), &status) != 0)
      leak("mounted a file system that is not %s's", prefix.c_str());
    if (umount2(place.c_str(), 0) != 0) broken("umount %s", place.c_str());
  }
  binder.join();
  printf("mount_race %s: %lu mounted, %lu by i386's entry, %lu refused, %lu binds; all its own\n", argv[2],
         mounted, old_mounted, refused, binds.load());
  return mounted + old_mounted > 0 && binds > 1 ? 0 : 1;
}
