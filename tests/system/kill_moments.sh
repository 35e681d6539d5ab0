#!/usr/bin/env bash
# loopfs killed with SIGKILL at 30 moments of a day's work: within 12 s nothing runs and nothing is mounted, no
# temporary file stays, and what was reported as synchronised is in the image.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require losetup mkfs.ext4 fuse2fs e2fsck debugfs

RANDOM=2026
# Others may mount on this machine meanwhile: what counts is what bears a mark of ours.
mounts() { grep -c -F -e "$TEST_FOLDER" -e " loopfs" -e fuse.loopfs /proc/self/mountinfo || true; }
mounts_before=$(mounts)
head -c 300000 /dev/urandom >random

# Reports a file in ./kept once fsync(2) has said that it is safe, and the round's end in ./finished.
work() {
  losetup -f --show disk.img >log
  mkfs.ext4 -q -F /dev/loop0
  mkdir -p m
  mount /dev/loop0 m
  echo mounted >kept
  for i in {1..40}; do
    dd if=random of="m/file$i" bs=64K conv=fsync status=none
    echo "file$i" >>kept
  done
  umount m
  losetup -d /dev/loop0
  mount -o loop disk.img m
  for i in {41..60}; do
    dd if=random of="m/file$i" bs=64K conv=fsync status=none
    echo "file$i" >>kept
  done
  umount m
  touch finished
}

# Processes with this round's mark in their environment, which every process of the tree has; not counting zombies.
marked() {
  grep -lzxF "KILL_ROUND=$round" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 | grep -vx $$ || true
}
nothing_runs() { [ -z "$(marked)" ]; }

temporary_files() {
  find /tmp /dev/shm -maxdepth 1 -user "$(id -u)" \( -newer random -o -cnewer random \) ! -path "$TEST_FOLDER" ! -name 'tmp.*' \
    -iname '*loopfs*' ! -name 'loopfs-test.*' 2>/dev/null | sort
}
temporary_before=$(temporary_files)

# start: a round in the background; its process is $pid.
start() {
  rm -f disk.img kept finished
  truncate -s 64M disk.img
  # shellcheck disable=SC2016 # for the inner shell
  KILL_ROUND=$round "$LOOPFS" run -- bash -c '. "$0"; eval "$1"; work' "$TEST_FOLDER/tests/system/lib.sh" \
    "$(declare -f)" 2>errors &
  pid=$!
}

now() { local t=${EPOCHREALTIME/[.,]/}; echo "$((t / 1000))"; }

# How long it takes when nobody interferes.
round=$$.0
begin=$(now)
start
wait $pid
[ -e finished ] || fail "the work cannot be done: $(cat errors)"
whole=$(($(now) - begin))
wait_for 12 nothing_runs

kept_in_all=0
for number in {1..30}; do
  round=$$.$number
  # Spread over the whole, at a random place within each thirtieth.
  moment=$(((number - 1) * whole / 30 + RANDOM % (whole / 30 + 1)))
  start
  read -r -t "$(printf '%d.%03d' $((moment / 1000)) $((moment % 1000)))" <> <(:) || true
  cp kept kept_then 2>/dev/null || : >kept_then
  kill -KILL $pid 2>/dev/null || true
  wait $pid 2>/dev/null || true
  wait_for 12 nothing_runs
  if [ -s kept_then ]; then
    cp --sparse=always disk.img copy.img
    e2fsck -fy copy.img >log 2>&1 || [ $? -eq 1 ] || fail "$moment ms: $(cat log)"
    while read -r name; do
      [ "$name" = mounted ] && continue
      debugfs -R "dump $name out" copy.img 2>log >&2
      cmp -s random out || fail "killed after $moment of $whole ms: $name was synchronised and is not in the image"
      rm out
      kept_in_all=$((kept_in_all + 1))
    done <kept_then
  fi
done
assert_eq "$(mounts)" "$mounts_before" "mounts of the host"
assert_eq "$(temporary_files)" "$temporary_before" "temporary files"
echo "30 kills within $whole ms of work; $kept_in_all synchronised files, all there"
[ $kept_in_all -gt 30 ] || fail "too few files were written for this to mean anything"
