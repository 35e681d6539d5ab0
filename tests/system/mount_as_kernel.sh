#!/usr/bin/env bash
# mount(2) and umount2(2) of a device fail as the kernel's do on a loop device of the host: the same calls on both.
# run-as: root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 fuse2fs python3 losetup
[ -c /dev/loop-control ] || skip "no loop devices on this machine"
kernel_has ext4 || skip "no ext4 in this kernel"

truncate -s 16M fs.img
mkfs.ext4 -q fs.img
mkdir d e

export PYTHONPATH=$TEST_FOLDER/tests/system/helpers PYTHONDONTWRITEBYTECODE=1
cat >calls.py <<'END'
import sys

import mount_calls
from mount_calls import MS_BIND, MS_RDONLY, MS_REMOUNT

device, unbound = sys.argv[1:]


def mount(what, *arguments):
    print(what, mount_calls.mount(*arguments))


def umount(what, *arguments):
    print(what, mount_calls.umount(*arguments))


mount("no source", None, "d")
mount("an empty source", "", "d")
mount("no source, no target", None, "nowhere")
mount("no source, unknown type", None, "d", "nosuchfs")
mount("unknown type", device, "d", "nosuchfs")
mount("unknown type, no such source", "/dev/nowhere", "d", "nosuchfs")
mount("no such source", "/dev/nowhere", "d")
mount("no target", device, "")
mount("no such target", device, "nowhere")
mount("a file as source", "fs.img", "d")
mount("a folder as source", "d", "d")
mount("a file as target", device, "fs.img")
mount("a device without a file", unbound, "d")
mount("another type", device, "d", "squashfs")
mount("an unknown option", device, "d", "ext4", 0, "nonsense")
mount("remount of no mount", device, "d", "ext4", MS_REMOUNT)
umount("umount of no mount", "d")
mount("mount", device, "d")
mount("on itself", device, "d")
mount("on itself, read-only", device, "d", "ext4", MS_RDONLY)
mount("elsewhere, read-only", device, "e", "ext4", MS_RDONLY)
mount("elsewhere", device, "e")
mount("on itself, there", device, "e")
mount("on a folder of itself", device, "d/lost+found")
umount("umount of that", "d/lost+found")
umount("umount there", "e")
mount("remount of a folder", device, "d/lost+found", "ext4", MS_REMOUNT | MS_RDONLY)
mount("remount", None, "d", None, MS_REMOUNT | MS_RDONLY)
mount("on itself, both read-only", device, "d", "ext4", MS_RDONLY)
mount("remount", None, "d", None, MS_REMOUNT)
umount("bad flags", "d", 0x100)
umount("force", "d", 1)
mount("read-only", device, "d", "ext4", MS_RDONLY)
umount("lazily", "d", 2)
END

reference() {
  local device
  device=$(losetup -f --show fs.img)
  # shellcheck disable=SC2064 # the device of this moment
  trap "umount -q d e || true; losetup -d $device" EXIT
  # The last device that there is: one that nobody has a file on.
  python3 calls.py "$device" "$(losetup -f)"
}
# shellcheck disable=SC2016 # for the inner shell
unshare -m --propagation private bash -c '. "$0"; eval "$1"; reference' "$TEST_FOLDER/tests/system/lib.sh" "$(declare -f)" >kernel
inside() {
  losetup /dev/loop0 fs.img
  python3 calls.py /dev/loop0 /dev/loop1
}
in_sandbox inside >ours
[ "$(wc -l <kernel)" -gt 30 ] || fail "only $(wc -l <kernel) calls"
diff -u kernel ours || fail "they differ"
