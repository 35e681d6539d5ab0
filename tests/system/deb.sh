#!/usr/bin/env bash
# The Debian packages: what they contain is there, installed, and works; removed and purged they leave nothing. They
# are made of the build folder's programs: `make deb` compiles anew and asks lintian.
# run-as: root
# serial: yes
#
# Installed by dpkg itself, maintainer scripts and dependencies included, on this machine's own Debian: below an
# overlay, of which nothing stays.
. "$(dirname "$0")/lib.sh"
require dpkg dpkg-buildpackage dh cmake unshare systemd-analyze man
build=$LOOPFS_SOURCE/build/release
[ -f "$build/cmake_install.cmake" ] || skip "no build in $build"
for program in sbin/loopfsd sbin/mount.loopfs; do
  [ -x "$build/bin/${program##*/}" ] || skip "$build/bin has no ${program##*/}"
done

mkdir out
LOOPFS_PREBUILT=$build "$LOOPFS_SOURCE/scripts/deb" "$PWD/out" >deb.log 2>&1 || fail "$(tail -40 deb.log)"
rm -r out/source

# In the overlay: what is there that was not, but for dpkg's own records and caches. "c" is a file that is gone.
left_over() {
  (cd /tmp/upper/files && find . ! -type d ! -path './var/lib/dpkg/*' ! -path './var/cache/*' ! -path './var/log/*' \
    -printf '%y /%P\n') | sort
}

inside() {
  local debs=(/tmp/upper/debs/*.deb) file
  dpkg -i "${debs[@]}" >/tmp/log 2>&1 || fail "$(cat /tmp/log)"

  assert_match "$(/usr/bin/loopfs --version)" "^loopfs [0-9]"
  assert_match "$(/usr/sbin/loopfsd --version)" "^loopfsd [0-9]"
  # where mount looks for it
  assert_match "$(/sbin/mount.loopfs --version)" "^mount.loopfs [0-9]"
  for file in 1/loopfs 5/loopfs.toml 8/loopfsd 8/mount.loopfs; do
    assert_match "$(man -w "${file%/*}" "${file#*/}")" "/usr/share/man/man$file\\.${file%/*}\\.gz"
  done
  for file in bash-completion/completions/loopfs zsh/vendor-completions/_loopfs fish/vendor_completions.d/loopfs.fish \
    doc/loopfs/copyright doc/loopfsd/examples/lvmlocal.conf; do
    [ -f "/usr/share/$file" ] || fail "no /usr/share/$file"
  done
  assert_eq "$(find /lib/udev/rules.d -name '*loopfs*' -printf '%f\n' | sort | xargs)" \
    "40-loopfs.rules 99-z-loopfs.rules"
  assert_status 0 systemd-analyze verify /lib/systemd/system/loopfsd.service /lib/systemd/system/loopfsd.socket
  assert_eq "$output" "" "systemd-analyze"
  for file in sockets.target.wants/loopfsd.socket multi-user.target.wants/loopfsd.service; do
    [ -L "/etc/systemd/system/$file" ] || fail "$file is not enabled"
  done
  assert_eq "$(dpkg --verify loopfs loopfsd)" ""

  # An upgrade to the same; then all of it goes.
  dpkg -i "${debs[@]}" >/tmp/log 2>&1 || fail "$(cat /tmp/log)"
  dpkg --remove loopfsd loopfs >/tmp/log 2>&1 || fail "$(cat /tmp/log)"
  # until the purge, that the units were enabled is remembered, as with all of Debian's packages
  assert_eq "$(left_over | sed -E '/ \/(etc\/systemd\/system|var\/lib\/systemd\/deb-systemd-helper-enabled)\//d')" ""
  dpkg --purge loopfsd loopfs >/tmp/log 2>&1 || fail "$(cat /tmp/log)"
  assert_eq "$(left_over)" ""
}

# shellcheck disable=SC2016 # for the inner shell
unshare --mount --pid --fork --kill-child --propagation private bash -Eeuo pipefail -c '
  mkdir upper root
  mount -t tmpfs tmpfs upper
  mkdir upper/{files,work,debs}
  cp out/*.deb upper/debs/
  mount -t overlay -o lowerdir=/,upperdir=upper/files,workdir=upper/work overlay root
  # not part of the overlay: the machine runs no init here, whatever it does outside
  mount -t tmpfs tmpfs root/run
  mount -t proc proc root/proc
  mount --rbind /sys root/sys
  mount --rbind /dev root/dev
  mount -t tmpfs tmpfs root/tmp
  mkdir root/tmp/{tests,upper}
  cp -r "$1/tests/system" root/tmp/tests/
  mount --bind upper root/tmp/upper
  exec chroot root env TEST_FOLDER=/tmp DEBIAN_FRONTEND=noninteractive bash -c ". /tmp/tests/system/lib.sh; eval \"\$0\"; inside" "$2"
' - "$TEST_FOLDER" "$(declare -f)"
