#!/usr/bin/env bash
# ext2, ext3 and the others on whole images: what is written is there after a fresh mount, fsck finds nothing; erofs has no program.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 fuse2fs mksquashfs squashfuse mkfs.vfat fusefat mkfs.exfat mount.exfat-fuse mkfs.ntfs ntfs-3g genisoimage fuseiso

mkdir content d
head -c 300K /dev/urandom >content/data
echo text >content/small

for type in ext2 ext3 ext4; do truncate -s 16M "$type.img"; "mkfs.$type" -q -d content "$type.img"; done
truncate -s 32M vfat.img exfat.img ntfs.img
mkfs.vfat -F 32 vfat.img >/dev/null
mkfs.exfat exfat.img >/dev/null
mkfs.ntfs -q -F -f ntfs.img >/dev/null 2>&1
mksquashfs content squashfs.img -quiet -no-progress >/dev/null
genisoimage -quiet -R -o iso9660.img content
[ -z "$(command -v mkfs.erofs)" ] || mkfs.erofs erofs.img content >/dev/null 2>&1

check_image() {
  case $1 in
    ext*) e2fsck -fn "$1.img" ;;
    vfat) fsck.vfat -n vfat.img ;;
    exfat) fsck.exfat -n exfat.img ;;
    ntfs) ntfsfix -n ntfs.img ;;
  esac >fsck.out 2>&1 || fail "$1: $(cat fsck.out)"
}

# mount(8) starts mount.ntfs itself, which cannot drop its groups with a single id.
mount_image() {
  if [ "$1" = ntfs ] && grep -q deny /proc/self/setgroups; then
    mount -i -t ntfs -o loop ntfs.img d
  else
    mount -o loop "$1.img" d
  fi
}

# umount(8) comes back when the program has written everything, also for one that mount(8) itself has started.
# shellcheck disable=SC2009 # pgrep finds the dead too
programs() { ps -eo stat=,comm= | grep -v '^Z' | grep -E 'ntfs|fuse|exfat' || true; }

writable() {
  mount_image "$1"
  mkdir d/folder
  cp content/data d/folder/copy
  mv d/folder/copy d/folder/moved
  head -c 5M /dev/zero >d/much
  umount d
  assert_eq "$(programs)" "" "$1"
  assert_eq "$(losetup -a)" "" "$1"
  check_image "$1"
  mount_image "$1"
  cmp content/data d/folder/moved
  rm -r d/folder
  umount d
  check_image "$1"
}

readable() {
  mount_image "$1"
  cmp content/data d/data
  assert_eq "$(cat d/small)" text
  if [ "$1" = squashfs ] || [ "$1" = iso9660 ]; then
    assert_status 1 touch d/new
    assert_match "$output" Read-only
  fi
  umount d
}

inside() {
  local type
  for type in ext2 ext3 ext4 squashfs iso9660; do readable "$type"; done
  for type in ext2 ext3 ext4 vfat exfat ntfs; do writable "$type"; done
  assert_eq "$(losetup -a)" ""
}
in_sandbox inside

missing() {
  losetup /dev/loop0 erofs.img
  "$TEST_FOLDER/tests/system/helpers/mount_errno" /dev/loop0 d erofs 0 ''
}
if [ -e erofs.img ] && ! command -v erofsfuse >/dev/null; then
  assert_status 0 in_sandbox missing
  assert_match "$output" '^EPERM$'
  assert_eq "$(grep -c 'erofsfuse is not installed; the package .* has it' <<<"$output")" 1
fi
