#!/usr/bin/env bash
# loopfs run --engine kernel where the kernel mounts: nosuid and nodev are there to stay, remounts, umount -f, ext2 and ext3,
# the device's name as the source, and FUSE programs for what the kernel has not.
# run-as: root
# serial: yes
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/loopfsd_lib.sh"
require mkfs.ext4 mkfs.ext3 mkfs.ext2 tune2fs debugfs fuse2fs findmnt losetup mknod python3
kernel_has ext4 || skip "no ext4 in this kernel"

cat >in.sh <<'IN'
. "$0"
cd "$1"
mkdir d e
shows() { assert_match ",$(findmnt -no OPTIONS d)," ",$1,"; }
hides() { assert_no_match ",$(findmnt -no OPTIONS d)," ",$1,"; }

mount -o loop,noatime,noexec "$2" d
assert_eq "$(findmnt -no FSTYPE,SOURCE d | xargs)" "ext4 /dev/loop0"
for option in nosuid nodev noatime noexec; do shows $option; done
# A device node of the image's own leads nowhere, whatever the sandbox's root asks for.
[ -c d/null ] || fail "the image has no node"
assert_status 1 cat d/null
assert_match "$output" "Permission denied"
assert_status 32 mount -o remount,bind,dev,exec,noatime d
assert_status 32 mount -o remount,bind,suid,nodev,exec,noatime d
mount -o remount,dev,suid,noatime d
shows nodev
shows nosuid
python3 - d/null <<'P' || fail "a copy of the mount lets it through"
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
tree = libc.syscall(428, -100, os.path.dirname(sys.argv[1]).encode(), 1)  # open_tree, OPEN_TREE_CLONE
assert tree >= 0
attributes = (ctypes.c_uint64 * 4)(0, 4 | 2, 0, 0)  # to clear: nodev, nosuid
assert libc.syscall(442, tree, b"", 0x1000, attributes, 32) == -1 and ctypes.get_errno() == errno.EPERM
try:
    os.open("null", os.O_RDONLY, dir_fd=tree)
except PermissionError:
    sys.exit(0)
sys.exit("opened")
P
assert_status 32 unshare -m mount -o remount,bind,dev,noatime d

# mount(8) of 2.39 and newer asks for the mount first, and takes mount(2) then.
python3 -c 'import ctypes, errno; c = ctypes.CDLL(None, use_errno=True)
assert c.syscall(428, -100, b"d", 0) == -1 and ctypes.get_errno() == errno.ENOSYS, "open_tree"'
# remount: the superblock is the machine's, and changed all the same
touch d/one
mount -o remount,ro d
shows ro
assert_status 1 touch d/two
assert_match "$output" "Read-only file system"
mount -o remount,rw,exec,commit=7 d
hides noexec
shows commit=7
touch d/two
exec 9>d/three
assert_status 32 mount -o remount,ro d
assert_match "$output" "busy"
exec 9>&-
assert_status 32 mount -o remount,journal_path=/dev/null d
assert_status 32 mount -o remount,rw "$1"
# a second mount, and one on itself
mount /dev/loop0 e
[ -e e/two ] || fail "another file system"
assert_status 32 mount /dev/loop0 d
assert_match "$output" "already mounted|busy"
umount e
umount -f d
mount -o loop,sync,dirsync "$2" d
shows sync
shows dirsync
umount /dev/loop0
wait_for 10 nothing_bound

for type in ext2 ext3; do
  truncate -s 32M $type.img
  mkfs.$type -q $type.img
  mount -o loop $type.img d
  assert_eq "$(findmnt -no FSTYPE d)" ext4
  echo $type >d/file
  mount -o remount,ro d
  shows ro
  umount d
  mount -t $type -o loop $type.img d
  assert_eq "$(cat d/file)" $type
  umount d
done
assert_status 32 mount -t ext2 -o loop "$2" d
wait_for 10 nothing_bound
# On the list, but a kernel has no such file system, or it cannot have other ids.
if command -v mkfs.vfat fusefat >/dev/null && ! grep -qw vfat /proc/filesystems; then
  truncate -s 16M vfat.img
  mkfs.vfat vfat.img >/dev/null
  mount -o loop vfat.img d
  assert_eq "$(findmnt -no FSTYPE d)" fuse.loop.vfat
  umount d
else
  echo "vfat is in this kernel, or not to be made: left out"
fi
wait_for 10 nothing_bound
IN

run_as() { # USER
  local as=() folder=$PWD/$1
  [ "$1" = root ] || as=(setpriv "--reuid=$1" "--regid=$(id -g "$1")" --clear-groups)
  mkdir -p "$folder"
  cp node.img "$folder/node.img"
  chown -R "$1:$(id -g "$1")" "$folder"
  # shellcheck disable=SC2016 # for the inner shell
  "${as[@]}" env HOME="$folder" timeout 120 "$LOOPFS" run --engine kernel --socket "$SOCKET" -- \
    bash -c '. "$0"; . '"$PWD/in.sh" "$TEST_FOLDER/tests/system/lib.sh" "$folder" "$folder/node.img"
  wait_for 10 none_bound
  e2fsck -fn "$folder/node.img" >e2fsck.out 2>&1 || fail "$(cat e2fsck.out)"
  rm -r "$folder"
}

chmod 0755 .
mkdir content
mknod -m 0666 content/null c 1 3
truncate -s 32M node.img
mkfs.ext4 -q -d content node.img
printf '[mount]\ndefault = "kernel"\nkernel_filesystems = ["ext2", "ext3", "ext4", "vfat"]\n' >config.toml
start_daemon 213000 config.toml
run_as root
run_as nobody

# Nobody has it mounted, so a remount has to: with errors=remount-ro all the same, by which this image ends the mount. By its
# own superblock the error would go by, or panic the machine.
truncate -s 16M broken.img
mkfs.ext4 -q -O ^metadata_csum,^orphan_file broken.img
tune2fs -e continue broken.img >/dev/null
debugfs -w -R "ssv last_orphan 999999" broken.img 2>/dev/null
mkdir i
"$MOUNT_LOOPFS" none i -o "max=1,socket=$SOCKET"
python3 -c 'import fcntl; fcntl.ioctl(open("i/loop-control"), 0x4C82)'
losetup "$PWD/i/loop0" broken.img
status=0
python3 - "$SOCKET" >remount.out 2>&1 <<'P' || status=$?
import json, socket, sys
manager = socket.socket(socket.AF_UNIX)
manager.connect(sys.argv[1])
def call(method, **parameters):
    manager.sendall(json.dumps({"method": "io.loopfs.Manager." + method, "parameters": parameters}).encode() + b"\0")
    answer = b""
    while not answer.endswith(b"\0"):
        answer += manager.recv(65536)
    return json.loads(answer[:-1])
instance = call("List")["parameters"]["instances"][0]["id"]
answer = call("RemountFilesystem", instance=instance, device=0, partition=0, type="ext4", options="", read_only=True)
sys.exit(answer["parameters"].get("errno") != 5 and str(answer))
P
umount i
wait_for 10 none_bound
[ $status -eq 0 ] || fail "$(cat remount.out)"
