#!/usr/bin/env bash
# The same list of calls on a real /dev/loopN and on one of a sandbox of each engine, on the kernel's with descriptors from
# before and after the device was bound: every difference must be in a table of docs/differences.md, and everything in the
# tables must still differ.
# run-as: root
# serial: yes
PARITY=${PARITY:-$(realpath -m "$(dirname "$0")/../../build/release/bin/parity")}
DIFFERENCES=${DIFFERENCES:-$(realpath -m "$(dirname "$0")/../../docs/differences.md")}
export PARITY DIFFERENCES
. "$(dirname "$0")/../system/lib.sh"

[ -c /dev/loop-control ] || skip "the host has no loop devices"
[ -x "$PARITY" ] || fail "no program at $PARITY"
install -m 0755 "$PARITY" "$TEST_FOLDER/bin/parity"
parity=$TEST_FOLDER/bin/parity
user=$(id -u nobody):$(id -g nobody)
. "$(dirname "$0")/../system/loopfsd_lib.sh"
chmod 0755 .
trap '"$parity" /dev kernel --clean; end_daemon' EXIT
mkdir kernel

declare -A kernel=() ours=() old=()
read_results() { # FILE ARRAY
  local line
  local -n results=$2
  # shellcheck disable=SC2034 # a reference
  while IFS= read -r line; do results[${line%%: *}]=${line#*: }; done <"$1"
}

# in_a_sandbox NAME OPTION... -- ARGUMENT...: the calls in a sandbox of nobody's, into NAME.txt
in_a_sandbox() {
  local name=$1 options=()
  shift
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  install -d -o "${user%:*}" -g "${user#*:}" "$name"
  timeout --kill-after=5 240 setpriv --reuid="${user%:*}" --regid="${user#*:}" --clear-groups \
    env -C "$name" HOME="$PWD/$name" "$LOOPFS" run "${options[@]}" -- "$parity" /dev "$PWD/$name" "$@" >"$name.txt" ||
    fail "the run of $name failed"
}

timeout 120 "$parity" /dev kernel >kernel.txt || fail "the kernel's run failed"
in_a_sandbox user --
start_daemon 230000
trap '"$parity" /dev kernel --clean; end_daemon' EXIT
in_a_sandbox new --engine kernel --socket "$SOCKET" --
in_a_sandbox old --engine kernel --socket "$SOCKET" -- --old

# Which has code for partition tables of its own, or not; loopfs always has.
has_tables() { [ -z "${kernel[table/unsupported]:-}" ]; }
# The tables of docs/differences.md.
user_table() { sed '/^# The kernel engine/,$d' "$DIFFERENCES" | grep '^| `'; }
kernel_table() { sed '1,/^## Calls on the kernel engine/d' "$DIFFERENCES" | grep '^| `'; }
status=0

# compare NAME COLUMNS <TABLE: `kernel` with `ours` and, if there are four columns, `old`. All but the last column of a table are
# patterns as in sh; "=" is what the kernel has.
compare() {
  local name=$1 columns=$2 patterns=() theirs=() news=() olds=() used=() line prior rest case i k l o listed
  while IFS= read -r line; do
    IFS='|' read -r _ pattern their new rest <<<"$line"
    prior=$new
    [ "$columns" = 3 ] || IFS='|' read -r prior _ <<<"$rest"
    patterns+=("$(in_code "$pattern")") theirs+=("$(in_code "$their")") news+=("$(in_code "$new")")
    olds+=("$(in_code "$prior")") used+=(0)
  done
  matches() { # VALUE PATTERN KERNEL
    # shellcheck disable=SC2053 # they are patterns
    if [ "$2" = "=" ]; then [ "$1" = "$3" ]; else [[ $1 == $2 ]]; fi
  }
  while IFS= read -r case; do
    k=${kernel[$case]-none} l=${ours[$case]-none} o=${old[$case]-none}
    [ "$columns" = 4 ] || o=$l
    [ "$k" != "$l" ] || [ "$k" != "$o" ] || continue
    listed=no
    for i in "${!patterns[@]}"; do
      # shellcheck disable=SC2053 # they are patterns
      if [[ $case == ${patterns[i]} && $k == ${theirs[i]} ]] && matches "$l" "${news[i]}" "$k" && matches "$o" "${olds[i]}" "$k"; then
        used[i]=1 listed=yes
        break
      fi
    done
    [ "$listed" = yes ] || { printf 'NOT LISTED: %s\n  kernel: %s\n  loopfs: %s\n  old descriptor: %s\n' "$case" "$k" "$l" "$o"; status=1; }
  done < <(printf '%s\n' "${!kernel[@]}" "${!ours[@]}" "${!old[@]}" | sort -u)
  for i in "${!patterns[@]}"; do
    [ "${used[i]}" = 1 ] || { printf 'LISTED, BUT DOES NOT OCCUR: %s\n' "${patterns[i]}"; status=1; }
  done
  echo "$name: ${#kernel[@]} cases on the kernel, ${#ours[@]} on loopfs"
}
in_code() { local text=${1#*\`}; echo "${text%\`*}"; }
without_tables() {
  local case
  has_tables || for case in "${!kernel[@]}" "${!ours[@]}" "${!old[@]}"; do
    case $case in table/*) unset "kernel[$case]" "ours[$case]" "old[$case]" ;; esac
  done
}

read_results kernel.txt kernel
read_results user.txt ours
without_tables
compare "user engine" 3 < <(user_table)

# What nobody asked for: direct I/O, where the file can.
sed -i -E 's/flags=0x1([0-9a-f])/flags=0x\1/g' kernel.txt new.txt old.txt
kernel=() ours=() old=()
read_results kernel.txt kernel
read_results new.txt ours
read_results old.txt old
without_tables
compare "kernel engine" 4 < <(kernel_table)
exit $status
