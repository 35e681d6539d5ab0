#!/usr/bin/env bash
# `make static`: a loopfs for any image. Here it works where there is no library at all, nor anything but a busybox.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require bwrap busybox mkfs.ext4 readelf
static=$TEST_FOLDER/bin/static
[ -x "$static/loopfs" ] || skip "make static has not been run"

for program in loopfs mount.loopfs; do
  assert_no_match "$(readelf -d -l -W "$static/$program")" 'NEEDED|INTERP'
done

mkdir -p tree/{bin,proc,sys,dev,tmp}
cp "$(command -v busybox)" tree/bin/
! readelf -l "$(command -v busybox)" | grep -q INTERP || skip "busybox is not the static one"
ln -s busybox tree/bin/sh
for name in losetup mkswap dd cat stat; do ln -s busybox tree/bin/$name; done
cat >tree/job <<'IN'
set -eu
truncate() { dd if=/dev/zero of="$1" bs=1 count=0 seek="$2" 2>/dev/null; }
truncate /tmp/disk.img 33554432
losetup /dev/loop0 /tmp/disk.img
mkswap -L STATIC /dev/loop0 >/dev/null
losetup -d /dev/loop0
[ -z "$(losetup -a)" ]
echo "made by $(stat -c %u /job)"
IN

# A container with next to nothing in it, the program bound into it as a container's is with -v.
container() {
  timeout -k 5 60 bwrap --bind tree / --bind /proc /proc --dev /dev --dev-bind /dev/fuse /dev/fuse --ro-bind /sys /sys \
    --ro-bind "$static" /static --unshare-user "$@"
}
assert_eq "$(container /static/loopfs --version)" "$("$LOOPFS" --version)"
assert_eq "$(container /static/loopfs run -- /bin/sh /job)" "made by 0"
assert_match "$(container /static/loopfs doctor)" '^lacking +fuse2fs '
assert_eq "$(blkid -p -o value -s LABEL tree/tmp/disk.img)" STATIC
# It does all that the other one does: mounts through the programs of the image.
loopfs=$static/loopfs
mkdir content d
echo hello >content/file
truncate -s 16M fs.img
mkfs.ext4 -q -d content fs.img
assert_eq "$(timeout -k 5 60 "$loopfs" run -- sh -c 'mount -o loop fs.img d && cat d/file')" hello
