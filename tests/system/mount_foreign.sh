#!/usr/bin/env bash
# Below somebody else's seccomp supervisor loopfs says what it cannot do, and does the rest.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require losetup mkfs.ext4 perl

truncate -s 16M fs.img
mkdir d
inside() {
  losetup /dev/loop0 fs.img
  mkfs.ext4 -q /dev/loop0 2>/dev/null
  e2fsck -fn /dev/loop0 >/dev/null 2>&1
  assert_status 32 mount /dev/loop0 d
  losetup -d /dev/loop0
  assert_eq "$(losetup -a)" ""
}
loopfs=$LOOPFS
below_foreign() {
  # shellcheck disable=SC2016 # for the inner shell
  timeout -k 5 60 "$TEST_FOLDER/tests/system/helpers/foreign_supervisor" "$loopfs" run -- \
    bash -c '. "$0"; eval "$1"; inside' "$TEST_FOLDER/tests/system/lib.sh" "$(declare -f)"
}
assert_status 0 below_foreign
assert_eq "$(wc -l <<<"$output")" 1 "one line: $output"
assert_match "$output" '^loopfs: .*(mount|supervisor)'
e2fsck -fn fs.img >/dev/null 2>&1
