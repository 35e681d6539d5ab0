#!/usr/bin/env bash
# The rules of an instance: what its directory holds and refuses, and LOOP_CTL_ADD, LOOP_CTL_REMOVE, LOOP_CTL_GET_FREE.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require perl losetup

# control COMMAND NUMBER: an ioctl on loop-control; prints its value, or the errno's text on stderr.
control() {
  # shellcheck disable=SC2016 # perl's
  perl -e 'sysopen(my $control, "/dev/loop-control", 2) or die "open: $!\n";
    my $value = ioctl($control, hex $ARGV[0], $ARGV[1] + 0);
    defined $value or die "$!\n"; print $value + 0, "\n"' "$@"
}
add() { control 4C80 "$1"; }
remove() { control 4C81 "$1"; }
get_free() { control 4C82 0; }

# expect REGEX CMD...: fails, and says so.
expect() {
  local regex=$1 output
  shift
  if output=$("$@" 2>&1); then fail "no error from $*: $output"; fi
  assert_match "$output" "$regex"
}

inside() {
  cd /dev
  # modes, owner, inodes, names
  assert_eq "$(stat -c '%a %u %g %i %F' .)" "755 0 0 1 directory"
  assert_eq "$(stat -c '%a %u %g %i %F %t:%T' loop-control)" "600 0 0 2 character special file a:ed"
  assert_eq "$(stat -c '%a %u %g %F %t:%T' loop0)" "600 0 0 block special file 7:0"
  [ ! -e /dev/loop ] || fail "/dev/loop would make losetup look in there"
  assert_match "$(findmnt -n -o OPTIONS -T .)" "noexec"

  # no node can be made, or get another name
  local act
  for act in 'ln loop0 x' 'mknod x b 7 0' 'mknod loop77 b 7 77' 'mv loop0 loop99' 'mv loop0 x' \
    'mv loop-control x' 'rm -f loop-control' 'touch loop77' 'mkdir loop77' 'ln -s null loop77'; do
    # shellcheck disable=SC2086 # words
    expect "Operation not permitted" $act
  done

  # ADD
  assert_eq "$(add 20)" 20
  assert_eq "$(readlink -f /dev/loop20)" /dev/loop20
  expect "File exists" add 20
  local next
  next=$(add -1)
  [ -b "loop$next" ] || fail "add -1 gave $next"
  assert_eq "$(stat -c %t:%T loop20)" "7:14"

  remove 20
  [ ! -e loop20 ] || fail "loop20 is still there"
}

refusals() {
  expect "No such device" remove 33
  # ENOSYS, which the kernel's FUSE code makes ENOTTY: docs/differences.md
  expect "Inappropriate ioctl" control 4C99 0
  assert_eq "$(get_free)" 0
  losetup /dev/loop0 a.img
  assert_eq "$(get_free)" 1
  expect "busy" remove 0
  expect "busy" rm -f /dev/loop0
  exec 9<>/dev/loop1
  expect "busy" remove 1
  exec 9>&-
  wait_for 5 remove 1
  [ ! -e /dev/loop1 ] || fail "loop1 is still there"
  assert_eq "$(add 1)" 1
  rm /dev/loop1
  expect "No such device" remove 1
  losetup -d /dev/loop0
  rm /dev/loop0
  assert_eq "$(get_free)" 2 "the lowest free one that there is"
  assert_eq "$(add -1)" 0 "the lowest unused number"
  # modes can be changed, and stay
  chmod 0666 /dev/loop0
  assert_eq "$(stat -L -c %a /dev/loop0)" 666
}

# What else belongs into a /dev.
other_entries() {
  cd /dev
  mkdir -p mapper/x
  ln -s ../loop0 mapper/root
  ln -sf ../loop1 mapper/root
  assert_eq "$(readlink mapper/root)" ../loop1
  mv mapper/root mapper/x/other
  expect "not empty" rmdir mapper
  rm -r mapper
  mkfifo initctl
  (echo through >initctl) &
  assert_eq "$(cat initctl)" through
  rm initctl
  perl -MSocket -e 'socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die; bind($s, sockaddr_un("/dev/log")) or die "$!\n"'
  [ -S log ] || fail "no socket"
  rm log
  touch place
  mount --bind null place
  echo gone >place
  umount place
  expect "No space left" eval 'echo kept >place'
  assert_eq "$(stat -c '%s %F' place)" "0 regular empty file"
  chmod 640 place
  assert_eq "$(stat -c %a place)" 640
  rm place
  # What is hidden comes into no listing, and into no copy, which could not be unmounted.
  [ -d .loopfs ] || fail "no .loopfs"
  assert_eq "$(find . -maxdepth 1 -name .loopfs)" ""
  mkdir copy
  mount --rbind . copy
  ! findmnt -n -o TARGET | grep -q "/dev/copy/.loopfs" || fail "a copy of what is hidden"
  umount -R copy
  rmdir copy
  local i
  for ((i = 0; i < 300; i++)); do mkdir "d$i" 2>/dev/null || break; done
  expect "No space left" mkdir more
  rmdir d*
  [ ! -e d0 ] || fail "d0 is still there"
}

limited() {
  assert_eq "$(find /dev -maxdepth 1 -name 'loop[0-9]*' | wc -l)" 2
  expect "No space left on device" add 7
  losetup -f a.img
  losetup -f b.img
  expect "No space left on device" get_free
}

truncate -s 1M a.img b.img
in_sandbox inside
in_sandbox refusals
in_sandbox other_entries
# shellcheck disable=SC2016 # for the inner shell
sandbox --max 2 -- bash -c '. "$0"; eval "$1"; limited' "$TEST_FOLDER/tests/system/lib.sh" "$(declare -f)"
