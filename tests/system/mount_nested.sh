#!/usr/bin/env bash
# Mounts where the caller stands elsewhere than the sandbox's command: in a sandbox in a sandbox (which the outer
# supervisor serves), in namespaces of its own, in a chroot.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 fuse2fs e2fsck mksquashfs squashfuse_ll sfdisk findmnt unshare ntfs-3g mkfs.ntfs

mkdir content d e
echo hello >content/file
mksquashfs content squashfs.img -quiet -no-progress >/dev/null
truncate -s 16M fs.img ntfs.img
truncate -s 40M disk.img
mkfs.ext4 -q fs.img
mkfs.ntfs -QF ntfs.img >/dev/null 2>&1
printf 'label: gpt\nsize=16M\nsize=16M\n' | sfdisk -q disk.img

# An inner sandbox's instance is not the outer supervisor's own: its device is opened there, from there.
inner() {
  mount -o loop fs.img d
  assert_eq "$(findmnt -n -o SOURCE -M d)" /dev/loop0
  assert_match "$(losetup -a)" '^/dev/loop0:'
  echo inner >d/inner
  umount d
  assert_eq "$(losetup -a)" ""
  losetup /dev/loop0 fs.img
  mount /dev/loop0 d
  mount /dev/loop0 e # the same superblock, not a second program on one image
  echo shared >d/shared
  assert_eq "$(cat e/shared)" shared
  umount d e
  losetup -d /dev/loop0
  assert_eq "$(losetup -a)" ""
  mount -t squashfs -o loop squashfs.img d
  assert_eq "$(cat d/file)" hello
  assert_status 1 touch d/other
  umount d
  mount -i -t ntfs -o loop ntfs.img d
  echo ntfs >d/ntfs
  umount d
  losetup -P /dev/loop0 disk.img
  mkfs.ext4 -q /dev/loop0p2 2>/dev/null
  mount /dev/loop0p2 d
  echo partition >d/partition
  umount d
  losetup -d /dev/loop0
  assert_eq "$(losetup -a)" ""
}
nested() {
  losetup /dev/loop0 disk.img # the outer loop0 is another device
  in_sandbox inner
  assert_match "$(losetup -a)" disk.img
  losetup -d /dev/loop0
}
deeper() { sandbox -- "$LOOPFS" run -- sh -c 'mount -o loop fs.img d && cat d/inner && umount d'; }
in_sandbox nested
e2fsck -fn fs.img >e2fsck.out 2>&1 || fail "$(cat e2fsck.out)"
assert_eq "$(debugfs -R 'cat /inner' fs.img 2>/dev/null)" inner
assert_eq "$(in_sandbox deeper)" inner

# The inner command ends with its file system mounted: what it wrote is there when its loopfs has ended.
left_mounted() {
  sandbox -- sh -c 'mount -o loop fs.img d && echo left >d/left; mkdir -p d/folder; head -c 3M /dev/urandom >d/data'
  e2fsck -fn fs.img >e2fsck.out 2>&1 || fail "$(cat e2fsck.out)"
  assert_eq "$(debugfs -R 'cat /left' fs.img 2>/dev/null)" left
}
for _ in 1 2 3 4 5; do in_sandbox left_mounted; done

namespaces() {
  unshare -m sh -c 'mount -o loop fs.img d && cat d/inner && umount d' >seen
  assert_eq "$(cat seen)" inner
  unshare -mpf --mount-proc sh -c 'mount -o loop fs.img d && cat d/inner && umount d' >seen
  assert_eq "$(cat seen)" inner
  # the end of the namespace is the end of the mount, and of its device
  unshare -m sh -c 'mount -o loop fs.img d && echo ended >d/ended'
  wait_for 10 nothing_bound
  assert_eq "$(debugfs -R 'cat /ended' fs.img 2>/dev/null)" ended
  # root of a user namespace below: its own mounts, not ours
  unshare -Urm sh -c 'mount -o loop fs.img d && cat d/ended && umount d' >seen
  assert_eq "$(cat seen)" ended
  assert_status 1 unshare -U sh -c 'mount -t ext4 /dev/loop0 d || exit 1'
  wait_for 10 nothing_bound
}
in_sandbox namespaces

changed_root() {
  local folder
  mkdir -p root/dev root/proc root/sys root/mnt
  for folder in bin sbin usr lib lib64; do
    [ -e "/$folder" ] || continue
    mkdir -p "root/$folder" && mount --rbind "/$folder" "root/$folder"
  done
  for folder in dev proc sys; do mount --rbind "/$folder" "root/$folder"; done
  cp --sparse=always fs.img root/
  chroot root sh -c 'mount -o loop fs.img mnt && cat /mnt/inner && findmnt -n -o SOURCE,TARGET -M /mnt && umount /mnt' >seen
  assert_eq "$(xargs <seen)" "inner /dev/loop0 /mnt"
  assert_eq "$(losetup -a)" ""
}
in_sandbox changed_root
