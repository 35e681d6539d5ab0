#!/usr/bin/env bash
# What fsync(2) on a mounted image is worth, for each FUSE program: the table of docs/fsync.md.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require python3

export MOUNTED_TYPE SCENARIO
head -c 1500000 /dev/urandom >random

make_image() {
  rm -f disk.img copy.img ready
  truncate -s 64M disk.img
  case $MOUNTED_TYPE in
    ext4) mkfs.ext4 -q disk.img ;;
    vfat) mkfs.vfat disk.img >log ;;
    exfat) mkfs.exfat disk.img >log ;;
    ntfs) mkfs.ntfs -QF disk.img >log 2>&1 ;;
  esac
}

# check IMAGE, repair IMAGE: quietly; the report is in ./log.
check() {
  case $MOUNTED_TYPE in
    ext4) e2fsck -fn "$1" ;;
    vfat) fsck.fat -n "$1" ;;
    exfat) fsck.exfat -n "$1" ;;
    ntfs) ntfsfix -n "$1" ;;
  esac >log 2>&1
}
repair() {
  case $MOUNTED_TYPE in
    ext4) e2fsck -fy "$1" ;;
    vfat) fsck.fat -a "$1" ;;
    exfat) fsck.exfat -y "$1" ;;
    ntfs) ntfsfix "$1" ;;
  esac >log 2>&1 || [ $? -eq 1 ] # 1: repaired
}

inside() {
  mkdir -p m
  mount -i -t "$MOUNTED_TYPE" -o loop disk.img m
  mkdir m/d
  case $SCENARIO in
    closed-* | umount) cp random m/d/file ;;
    # The file stays open, so that no close(2) helps.
    fsync-*) python3 - <<'END' ;;
import os
file = os.open("m/d/file", os.O_CREAT | os.O_WRONLY)
os.write(file, open("random", "rb").read())
os.fsync(file)
directory = os.open("m/d", os.O_RDONLY)
os.fsync(directory)
open("ready", "w").close()
open("go").read()
END
  esac
  touch ready
  read -r _ <go
  [ "$SCENARIO" != umount ] || umount m
}

# descendants PID...: they too.
descendants() {
  local pid
  for pid; do
    echo "$pid"
    # shellcheck disable=SC2046 # numbers
    descendants $(cat "/proc/$pid"/task/*/children 2>/dev/null || true)
  done
}
gone() {
  local pid
  for pid; do
    # A zombie is nobody's problem here: its parent is what reaps orphans on this machine.
    grep -qsv '^State:[[:space:]]*Z' <(grep -s '^State' "/proc/$pid/status") && return 1
  done
  return 0
}

# attempt TYPE SCENARIO: leaves disk.img as the end of the scenario left it.
attempt() {
  local pid all one
  MOUNTED_TYPE=$1 SCENARIO=$2
  make_image
  # shellcheck disable=SC2016 # for the inner shell
  "$LOOPFS" run -- bash -c '. "$0"; eval "$1"; inside' "$TEST_FOLDER/tests/system/lib.sh" "$(declare -f)" &
  pid=$!
  wait_for 20 test -e ready
  mapfile -t all < <(descendants $pid)
  for one in "${all[@]}"; do cat "/proc/$one/comm" 2>/dev/null || true; done | grep -xF "${program:0:15}" >log || fail "$program is not below loopfs"
  case $SCENARIO in
    umount | closed-end) echo >go ;;
    *-killed) kill -KILL $pid ;;
    *-all-dead)
      kill -STOP "${all[@]}" 2>log # so that nobody reacts to another's end
      kill -KILL "${all[@]}" 2>log
      ;;
  esac
  wait $pid 2>/dev/null || true
  wait_for 12 gone "${all[@]}"
}

# What a reader finds in the image as it is now, after a repair of a copy: "kept" or "lost".
found() {
  cp --sparse=always disk.img copy.img
  repair copy.img || { echo "beyond repair"; return; }
  # shellcheck disable=SC2016 # for the inner shell
  sandbox -- bash -c 'mkdir -p r && mount -i -t "$MOUNTED_TYPE" -o loop,ro copy.img r &&
    cmp -s random r/d/file && echo kept || echo lost' 2>&1
}

mkfifo go
tested=0
# program type: what is in the image after fsync of an open file and its directory, all dead | only loopfs dead
while read -r program type all_dead killed; do
  if ! command -v "$program" "mkfs.$type" >log; then continue; fi
  tested=$((tested + 1))
  # Without fsync: umount, the end of the command, and the death of loopfs alone all write everything.
  for scenario in umount closed-end closed-killed; do
    attempt "$type" $scenario
    check disk.img || fail "$program, $scenario: not clean: $(cat log)"
    assert_eq "$(found)" kept "$program, $scenario"
  done
  attempt "$type" fsync-all-dead
  result=$(found)
  echo "$program: fsync, all dead: $result"
  [ "$all_dead" = nothing ] || assert_eq "$result" "$all_dead" "$program, all dead"
  attempt "$type" fsync-killed
  result=$(found)
  echo "$program: fsync, loopfs killed: $result"
  [ "$killed" = nothing ] || assert_eq "$result" "$killed" "$program, loopfs killed"
done <<'END'
fuse2fs ext4 kept kept
fusefat vfat nothing nothing
mount.exfat-fuse exfat kept kept
ntfs-3g ntfs kept kept
END
[ $tested -gt 0 ] || skip "no FUSE program is installed"
