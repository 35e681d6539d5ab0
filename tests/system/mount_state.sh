#!/usr/bin/env bash
# The sandbox has a /run/mount of its own, where mount(8) notes options for user space; in a root without one nothing is made,
# and mount(8) works all the same.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 fuse2fs

truncate -s 16M fs.img
mkfs.ext4 -q fs.img
mkdir d

noted() {
  mount -o loop,x-note.this fs.img d
  grep -q x-note.this "$1" || fail "not noted in $1"
  umount d
  ! grep -q x-note.this "$1" || fail "still noted in $1"
}

if [ -d /run/mount ]; then
  own() {
    assert_eq "$(stat -c %a:%u /run/mount)" 755:0
    assert_eq "$(ls -A /run/mount)" ""
    noted /run/mount/utab
  }
  in_sandbox own
else
  echo "no /run/mount on this machine: left out"
fi

# Another root, which has the machine's programs and a /run of its own.
mkdir -p tree/{proc,sys,dev,run,tmp,etc} "tree$PWD"
other() { # the file that is written to
  local folder binds=()
  for folder in /usr /bin /sbin /lib /lib64 "$TEST_FOLDER"; do
    [ -d "$folder" ] || continue
    mkdir -p "tree$folder"
    binds+=(--bind "$folder")
  done
  # shellcheck disable=SC2016 # for the inner shell
  sandbox --root tree "${binds[@]}" -- bash -c '. "$0"; eval "$1"; cd "$2"; noted "$3"' \
    "$TEST_FOLDER/tests/system/lib.sh" "$(declare -f)" "$PWD" "$1"
}
other /dev/shm/mount/utab
assert_eq "$(find tree/run tree/dev -mindepth 1)" "" "something was made in the tree"
mkdir tree/run/mount
other /run/mount/utab
assert_eq "$(find tree/run -mindepth 1)" tree/run/mount "something was made in the tree"
