#!/usr/bin/env bash
# --root: another root file system with /proc, /sys and a /dev of its own. --bind: files and directories.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require busybox

mkdir -p tree/{bin,proc,sys,dev,tmp,etc,data} "tree$PWD" src
cp "$(command -v busybox)" tree/bin/
for name in sh ls cat ps id pwd mount umount readlink grep wc; do ln -s busybox tree/bin/$name; done
ln -s / tree/etc/up
echo one >src/file
echo two >src/other

in_tree() { sandbox --root tree "${options[@]}" -- /bin/sh -c "PATH=/bin; $1"; }
options=()

assert_eq "$(in_tree 'ls /')" "$(printf '%s\n' bin data dev etc proc sys "${PWD:1:3}" tmp | sort -u)"
assert_eq "$(in_tree 'ls / >/dev/null; id -u; [ -d /sys/class ] && [ -d /proc/1 ] && echo good')" $'0\ngood'
assert_eq "$(in_tree 'grep -c . /proc/1/comm; cat /proc/1/comm')" $'1\nloopfs-init'
# Of the old root nothing is left: no mount, no way up.
assert_eq "$(in_tree 'ls -d /../../bin/busybox /etc/up/bin/busybox')" $'/../../bin/busybox\n/etc/up/bin/busybox'
assert_no_match "$(in_tree 'cat /proc/self/mountinfo')" " /(usr|var|home|root) "
# The folder is kept if the tree has it, else it is "/".
assert_eq "$(in_tree pwd)" "$PWD"
assert_eq "$(cd src && sandbox --root ../tree -- /bin/pwd)" /
assert_eq "$(find tree/dev tree/proc tree/sys -mindepth 1)" "" "something was made in the tree"
# The tree is written to as the user.
in_tree 'echo new >/data/new'
assert_eq "$(cat tree/data/new)" new
rm tree/data/new

# A tree without its mount points, and what is no tree.
rmdir tree/sys
assert_status 1 in_tree true
assert_match "$output" "^loopfs: .*has no directory '/sys'.*mkdir"
mkdir tree/sys
assert_status 1 sandbox --root src/file true
assert_match "$output" '^loopfs: .*Not a directory'
# Links in the tree lead nowhere else.
mv tree/dev tree/dev-real
mkdir outside
ln -s "$PWD/outside" tree/dev
assert_status 1 in_tree true
ln -sfn /dev-real tree/dev
assert_eq "$(in_tree 'readlink /dev/fd')" /proc/self/fd
rm tree/dev
mv tree/dev-real tree/dev

# --bind, with another root and without.
options=(--bind "$PWD/src:/data" --bind "$PWD/src/file:/dev/copy" --bind "$PWD/src:/dev/folder")
assert_eq "$(in_tree 'cat /data/file /data/other /dev/copy /dev/folder/other')" $'one\ntwo\none\ntwo'
options=()
mkdir here
assert_eq "$(sandbox --bind src:"$PWD/here" -- cat here/file)" one
assert_eq "$(sandbox --bind src/file:"$PWD/src/other" -- cat src/other)" one
assert_eq "$(sandbox --bind src -- sh -c 'echo three >src/third; cat src/third')" three
assert_eq "$(cat src/third)" three
assert_eq "$(cd src && sandbox --bind "${PWD%/*}/here:$PWD" -- sh -c 'ls | wc -l')" 0 "the folder is the bound one"
assert_eq "$(ls here)" ""

one_line() { # REGEX OPTION...
  local regex=$1
  shift
  assert_status 1 sandbox "$@" true
  assert_eq "$(wc -l <<<"$output")" 1
  assert_match "$output" "^loopfs: .*$regex"
}
one_line 'No such file' --bind "$PWD/missing:$PWD/here"
one_line "nothing at '$PWD/missing'.*make a directory" --bind "$PWD/src:$PWD/missing"
one_line "nothing at '$PWD/missing'.*make a file" --bind "$PWD/src/file:$PWD/missing"
one_line 'one is a directory' --bind "$PWD/src/file:$PWD/here"
one_line 'one is a directory' --bind "$PWD/src:$PWD/src/file"
[ ! -e missing ] || fail "a mount point was made on the host"
