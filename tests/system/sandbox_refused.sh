#!/usr/bin/env bash
# A machine that forbids a part of the sandbox: one line that says what to do, and nothing left.
# run-as: root
. "$(dirname "$0")/lib.sh"
require unshare setpriv

refused() { # REGEX PREPARATION: in a mount namespace of its own
  local user
  for user in root nobody; do
    # shellcheck disable=SC2016
    assert_status 1 unshare --mount --propagation private bash -euc '
      eval "$1"
      exec timeout -k 5 60 setpriv --reuid="$2" --regid="$(id -g "$2")" --clear-groups "$LOOPFS" run -- true' \
      bash "$2" $user
    assert_eq "$(wc -l <<<"$output")" 1 "$output"
    assert_match "$output" "^loopfs: .*$1"
  done
}
mkdir empty
refused 'systempaths=unconfined' 'mount -t tmpfs masked /proc/fs'
refused 'systempaths=unconfined' 'mount --bind /dev/null /proc/keys'
refused '/dev/fuse.*(modprobe fuse|--device)' 'mount -t tmpfs dev /dev; mknod -m 666 /dev/null c 1 3'
refused '/dev/fuse' 'mount --bind /dev/null /dev/fuse'

# The number of user namespaces is limited where we stand.
# shellcheck disable=SC2016
assert_status 1 unshare -Ur --mount bash -c 'echo 0 >/proc/sys/user/max_user_namespaces; exec "$LOOPFS" run -- true'
assert_match "$output" 'sysctl -w user.max_user_namespaces='
# A chroot may not make any.
mkdir chroot
# shellcheck disable=SC2016
assert_status 1 unshare --mount --propagation private bash -euc '
  mount --rbind / chroot
  exec chroot chroot "$LOOPFS" run -- true'
assert_match "$output" 'make a user namespace.*chroot'
# Mode 0600, as without udev: a user is told; root is not concerned.
# shellcheck disable=SC2016
assert_status 1 unshare --mount --propagation private bash -euc '
  mount -t tmpfs dev /dev
  mknod -m 600 /dev/fuse c 10 229
  exec setpriv --reuid=nobody --regid=nogroup --clear-groups "$LOOPFS" run -- true'
assert_match "$output" 'chmod 666 /dev/fuse'
