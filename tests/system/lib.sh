# shellcheck shell=bash
# For the system tests. A script starts with:
#   #!/usr/bin/env bash
#   # What it shows, in a line or two.
#   # run-as: nobody root
#   . "$(dirname "$0")/lib.sh"
# It then runs in an empty folder of its own ($PWD, also $TEST_FOLDER/work), with $LOOPFS the program
# and, for those that run as root, $LOOPFS_SOURCE the checkout.
# tests/system/run, which started it, looks for what is left behind and removes the folder.
# Run by hand, a script starts that runner itself, as whoever calls it.

if [ -z "${TEST_FOLDER:-}" ]; then
  exec "$(dirname "$0")/../system/run" "$([ "$(id -u)" -eq 0 ] && echo "${RUN_AS:-root}" || echo nobody)" "$0"
fi

set -Eeuo pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
trap 'echo "FAILED: ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND" >&2' ERR

# Where the helper that calls this was called from.
caller_line() {
  local file=${BASH_SOURCE[2]:-sandbox}
  echo "${file##*/}:${FUNCNAME[2]:-}:${BASH_LINENO[1]:-}"
}

# The test cannot be done on this machine: not run, and under LOOPFS_REQUIRE_ALL=1 failed.
skip() {
  echo "SKIP: $*"
  [ "${LOOPFS_REQUIRE_ALL:-0}" != 1 ] || { echo "LOOPFS_REQUIRE_ALL=1 turns this into a failure"; exit 1; }
  exit 77
}

# The same for what no package of this machine's distribution provides: never a failure.
unavailable() {
  echo "SKIP (not to be had here): $*"
  exit 77
}

# require TOOL...: skips unless all of them are installed.
require() {
  local tool
  for tool; do command -v "$tool" >/dev/null || skip "$tool is not installed"; done
}

# kernel_has TYPE...: whether the machine's kernel mounts these file systems.
kernel_has() {
  local type
  for type; do
    grep -qw "$type" /proc/filesystems || { modprobe -q "$type" && grep -qw "$type" /proc/filesystems; } 2>/dev/null || return
  done
}

fail() {
  echo "FAILED: $(caller_line): $*" >&2
  exit 1
}

# assert_eq ACTUAL EXPECTED [WHAT]
assert_eq() {
  [ "$1" = "$2" ] || { printf 'FAILED: %s: %s\n  got:      %q\n  expected: %q\n' "$(caller_line)" \
    "${3:-values differ}" "$1" "$2" >&2; exit 1; }
}

# assert_match TEXT REGEX: an extended regular expression, somewhere in the text.
assert_match() {
  grep -Eq -e "$2" <<<"$1" || { printf 'FAILED: %s: no match for %q in:\n%s\n' "$(caller_line)" \
    "$2" "$1" >&2; exit 1; }
}

assert_no_match() {
  ! grep -Eq -e "$2" <<<"$1" || { printf 'FAILED: %s: match for %q in:\n%s\n' "$(caller_line)" \
    "$2" "$1" >&2; exit 1; }
}

# assert_status STATUS CMD...: the command must end so. Its output, both streams, is in $output.
assert_status() {
  local expected=$1 status=0
  shift
  output=$("$@" 2>&1) || status=$?
  [ "$status" -eq "$expected" ] || { printf 'FAILED: %s: status %s, expected %s: %s\n%s\n' \
    "$(caller_line)" "$status" "$expected" "$*" "$output" >&2; exit 1; }
}

# wait_for SECONDS CMD...: until the command succeeds; fails the test at the deadline. The seconds are those of a machine
# that has nothing else to do; a slow or a busy one has four times as many.
wait_for() {
  local seconds=$(($1 * 4)) deadline=$((SECONDS + $1 * 4))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -le $deadline ] || { echo "FAILED: $(caller_line): not within $seconds s: $*" >&2; exit 1; }
    read -r -t 0.02 <> <(:) || true # a pause that needs no process
  done
}

# Inside a sandbox: no device has a file.
nothing_bound() { [ -z "$(losetup -a)" ]; }

# sandbox [OPTION...] [--] CMD...: in a sandbox, under a deadline: nothing may hang.
sandbox() {
  timeout --kill-after=5 "${SANDBOX_SECONDS:-180}" "$LOOPFS" run "$@"
}

# in_sandbox FUNCTION [ARG...]: a function of the calling script in a sandbox, strict, with all helpers at hand.
in_sandbox() {
  # shellcheck disable=SC2016 # for the inner shell
  sandbox -- bash -c '. "$0"; eval "$1"; shift; "$@"' "$TEST_FOLDER/tests/system/lib.sh" "$(declare -f)" "$@"
}
