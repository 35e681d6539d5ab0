#include "mounter/built_in.h"

namespace loopfs::mounter {
namespace {

constexpr std::string_view kPrograms = R"(
[[program]]
filesystems = ["ext2", "ext3", "ext4"]
command = ["fuse2fs", "{image}", "{mountpoint}", "-f", "-o", "{options}"]
package = "fuse2fs"
offset_option = "offset={offset}"
# The kernel checks permissions (default_permissions). fuse2fs would refuse what it allows: an owner's utimensat(2) of a
# file without write permission.
options = ["fakeroot"]
caution = "there are no ACLs, and a setgid directory does not pass its group on"
passed = ["norecovery", "minixdf"]
ignored = ["errors=", "noload", "data=", "commit=", "barrier", "barrier=", "nobarrier", "discard", "nodiscard",
           "noacl", "user_xattr", "nouser_xattr", "journal_checksum", "nojournal_checksum", "journal_async_commit",
           "journal_ioprio=", "delalloc", "nodelalloc", "auto_da_alloc", "auto_da_alloc=", "noauto_da_alloc",
           "dioread_lock", "dioread_nolock", "init_itable", "init_itable=", "noinit_itable", "stripe=", "lazytime",
           "nolazytime", "min_batch_time=", "max_batch_time=", "inode_readahead_blks=", "mbcache", "nombcache",
           "no_mbcache", "mb_optimize_scan=", "prefetch_block_bitmaps", "no_prefetch_block_bitmaps", "block_validity",
           "noblock_validity", "i_version", "bsddf", "nogrpid", "sysvgroups", "resuid=0", "resgid=0", "sb=1", "debug",
           "orlov", "oldalloc", "noquota", "dax=never", "dax=inode"]
unsupported = ["acl", "grpid", "bsdgroups", "quota", "usrquota", "grpquota", "prjquota", "usrjquota=", "grpjquota=",
               "jqfmt=", "resuid=", "resgid=", "max_dir_size_kb="]

[[program]]
filesystems = ["squashfs"]
command = ["squashfuse_ll", "-f", "-o", "{options}", "{image}", "{mountpoint}"]
package = "squashfuse"
offset_option = "offset={offset}"
read_only = true
ignored = ["errors=", "threads="]

[[program]]
filesystems = ["squashfs"]
command = ["squashfuse", "-f", "-o", "{options}", "{image}", "{mountpoint}"]
package = "squashfuse"
offset_option = "offset={offset}"
read_only = true
ignored = ["errors=", "threads="]

[[program]]
filesystems = ["erofs"]
command = ["erofsfuse", "-f", "-o", "{options}", "{image}", "{mountpoint}"]
package = "erofsfuse"
read_only = true
ignored = ["user_xattr", "nouser_xattr", "noacl", "cache_strategy="]
unsupported = ["acl"]

[[program]]
filesystems = ["vfat", "msdos"]
command = ["fusefat", "-f", "-o", "{options}", "{image}", "{mountpoint}"]
package = "fusefat"
options = ["atomic_o_trunc"]  # else O_TRUNC frees clusters that fusefat then writes to
read_write_options = ["rw+"]
caution = "a file that is overwritten with less keeps its old end, and some files cannot grow: remove it first; no chmod, no chown"
passed = ["uid=", "gid=", "umask="]
ignored = ["iocharset=utf8", "utf8", "utf8=1", "errors=", "flush", "quiet", "discard"]
unsupported = ["fmask=", "dmask=", "codepage=", "iocharset=", "shortname=", "utf8=", "check=", "tz=", "nonumtail",
               "nonumtail="]

[[program]]
filesystems = ["exfat"]
command = ["mount.exfat-fuse", "-d", "-o", "{options}", "{image}", "{mountpoint}"]
package = "exfat-fuse"
passed = ["uid=", "gid=", "umask=", "fmask=", "dmask="]
ignored = ["iocharset=utf8", "errors=", "discard", "utf8"]
unsupported = ["iocharset="]

[[program]]
filesystems = ["ntfs", "ntfs3", "ntfs-3g"]
command = ["ntfs-3g", "-o", "{options}", "{image}", "{mountpoint}"]
package = "ntfs-3g"
options = ["no_detach"]
passed = ["uid=", "gid=", "umask=", "fmask=", "dmask=", "permissions", "acl", "windows_names", "streams_interface=",
          "big_writes", "compression", "nocompression", "remove_hiberfile", "recover", "norecover", "inherit"]
ignored = ["iocharset=utf8", "nls=utf8", "utf8", "prealloc", "discard", "force"]
unsupported = ["iocharset=", "nls="]

[[program]]
filesystems = ["iso9660"]
command = ["fuseiso", "-n", "{image}", "{mountpoint}", "-f", "-o", "{options}"]
package = "fuseiso"
read_only = true
passed = []
ignored = ["iocharset=utf8", "utf8", "block="]
unsupported = ["norock", "nojoliet", "iocharset=", "unhide", "check=", "map=", "mode=", "dmode="]
)";

}  // namespace

std::string_view built_in_programs() {
  return kPrograms;
}

}  // namespace loopfs::mounter
