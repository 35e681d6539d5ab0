#!/usr/bin/env bash
# With many ids, the owners on a mounted image count: a user reads its own files and no others'.
# run-as: root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 fuse2fs setpriv setfattr

truncate -s 16M fs.img
mkfs.ext4 -q fs.img
mkdir d

inside() {
  local ids
  ids=$(awk '{n += $3} END {printf "%.0f", n}' /proc/self/uid_map)
  [ "$ids" -gt 1001 ] || skip "only $ids ids in the sandbox"
  mount -o loop fs.img d
  echo secret >d/root-only
  chmod 0600 d/root-only
  mkdir d/home
  chown 1000:1000 d/home
  local as_user=(setpriv --reuid=1000 --regid=1000 --clear-groups)
  "${as_user[@]}" sh -c 'umask 077; echo mine >d/home/mine; cat d/home/mine' >result
  assert_eq "$(cat result)" mine
  assert_eq "$(stat -c %u:%g:%a d/home/mine)" 1000:1000:600
  assert_status 1 "${as_user[@]}" cat d/root-only
  assert_match "$output" 'Permission denied'
  assert_status 1 setpriv --reuid=1001 --regid=1001 --clear-groups cat d/home/mine
  assert_match "$output" 'Permission denied'
  assert_status 1 "${as_user[@]}" touch d/new
  umount d
  assert_eq "$(debugfs -R 'stat /home/mine' fs.img 2>/dev/null | grep -o 'User: *1000')" "User:  1000"
}
in_sandbox inside
# The kernel checks permissions, fuse2fs does not check them again: an owner sets the times of his own read-only file.
times() {
  mount -o loop fs.img d
  local as_user=(setpriv --reuid=1000 --regid=1000 --clear-groups)
  "${as_user[@]}" sh -c 'echo x >d/home/read-only; chmod 0444 d/home/read-only; touch -d 2001-02-03 d/home/read-only'
  assert_eq "$(stat -c %y d/home/read-only | cut -d' ' -f1)" 2001-02-03
  # and nobody gets more than the kernel allows
  local other=(setpriv --reuid=1001 --regid=1001 --clear-groups)
  assert_status 1 "${other[@]}" touch -d 2001-02-03 d/home/read-only
  assert_status 1 "${other[@]}" chmod 0777 d/home/read-only
  assert_status 1 "${other[@]}" chown 1001 d/home/read-only
  assert_status 1 "${other[@]}" rm -f d/home/read-only
  assert_status 1 "${other[@]}" setfattr -n user.x -v y d/home/read-only
  assert_status 2 "${other[@]}" sh -c 'echo y >>d/home/read-only'
  assert_status 1 "${other[@]}" ln d/home/mine d/home/other
  assert_status 2 "${as_user[@]}" sh -c 'echo y >>d/home/read-only'
  assert_status 1 "${as_user[@]}" chown 1001 d/home/read-only
  umount d
}
in_sandbox times
e2fsck -fn fs.img >e2fsck.out 2>&1 || fail "$(cat e2fsck.out)"
