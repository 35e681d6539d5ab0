#!/usr/bin/env bash
# Options of mount(8): those of the kernel's ext4 are accepted where nobody can tell that they are ignored, told of where they have
# no effect, and refused else; those for user space only (x-*), fstab and mount -a; X-mount.subdir; what fuse2fs cannot is told once.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 fuse2fs findmnt mksquashfs squashfuse_ll

truncate -s 32M a.img b.img
mkfs.ext4 -q a.img
mkfs.ext4 -q b.img
mkdir m n s
echo squash >s/file
mksquashfs s s.sq -quiet -no-progress
host_state=$(cat /run/mount/utab 2>/dev/null || true)

options() {
  local option
  for option in noauto_da_alloc auto_da_alloc=0 nogrpid sb=1 resuid=0 dioread_nolock nombcache inode_readahead_blks=8 \
    block_validity i_version bsddf minixdf debug oldalloc noquota max_batch_time=0 data=journal,commit=5,barrier=0 \
    noatime,nodiratime,nosuid,nodev sync lazytime user_xattr errors=panic; do
    mount -t ext4 -o "loop,$option" a.img m || fail "$option is refused"
    umount m
  done
  for option in sb=32768 nonsense journal_path=/dev/null bsddf=1; do
    assert_status 32 mount -t ext4 -o "loop,$option" a.img m
  done
  for option in acl grpid usrquota,grpquota resgid=5; do
    mount -t ext4 -o "loop,$option" a.img m
    umount m
  done
}

# The lines of the user's, on standard error of loopfs itself.
in_sandbox options 2>told || { cat told; exit 1; }
assert_eq "$(grep -c 'fuse2fs: there are no ACLs, and a setgid directory does not pass its group on' told)" 1
for option in acl grpid usrquota grpquota resgid=5; do
  assert_eq "$(grep -cx "loopfs: mount /dev/loop0: fuse2fs: option '$option' has no effect" told)" 1 "$option"
done
assert_no_match "$(cat told)" "option '(bsddf|noauto_da_alloc|resuid=0|data=journal|commit=5)'"
sandbox -- mount -o loop,ro a.img m 2>told
assert_eq "$(cat told)" "" "a read-only mount needs no caution"

for_user_space() {
  mount -o loop,x-systemd.automount,x-gvfs-hide,nofail a.img m
  grep -q 'OPTS=.*x-systemd.automount' /run/mount/utab || [ -n "${LIBMOUNT_UTAB:-}" ] || fail "nothing is noted"
  echo one >m/file
  umount m
  cat >fstab <<X
$PWD/a.img $PWD/m ext4 loop,defaults,noatime,x-systemd.device-timeout=5 0 0
$PWD/b.img $PWD/n auto loop,rw,user_xattr,acl,nofail,x-systemd.automount 0 0
$PWD/s.sq $PWD/s squashfs loop,ro 0 0
X
  mount -a -T fstab
  assert_eq "$(cat m/file s/file)" $'one\nsquash'
  assert_match "$(findmnt -no OPTIONS m)" noatime
  mount -a -T fstab
  assert_eq "$(findmnt -rno TARGET m | wc -l)" 1
  umount m n s
  mount -T fstab "$PWD/m"
  umount m
  wait_for 10 nothing_bound
}
in_sandbox for_user_space
assert_eq "$(cat /run/mount/utab 2>/dev/null || true)" "$host_state" "the host's notes"

subdirectory() {
  mount -o loop a.img m
  mkdir -p m/sub/deep
  echo below >m/sub/deep/file
  umount m
  mount -o loop,X-mount.subdir=sub/deep a.img m
  assert_eq "$(cat m/file)" below
  assert_eq "$(findmnt -nro SOURCE m)" '/dev/loop0[/sub/deep]'
  touch m/new
  umount m
  wait_for 10 nothing_bound
  assert_status 32 mount -o loop,X-mount.subdir=nowhere a.img m
  assert_eq "$(findmnt -no SOURCE m)" ""
  wait_for 10 nothing_bound
  # What mount(8) does for another file system goes the same way.
  assert_status 32 mount -t tmpfs -o X-mount.subdir=nowhere none m
}
[ "$(mount --version | grep -o '2\.[0-9]*' | head -1 | cut -d. -f2)" -ge 38 ] ||
  { echo "no X-mount.subdir here: left out"; exit 0; }
in_sandbox subdirectory
e2fsck -fn a.img
