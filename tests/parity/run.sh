#!/usr/bin/env bash
# The same list of calls on a real /dev/loopN and on one of a sandbox: every difference must be in the table of
# docs/differences.md, and everything in that table must still differ.
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
mkdir kernel loopfs
chown "$user" loopfs
chmod 0755 .
trap '"$parity" /dev kernel --clean' EXIT

timeout 120 "$parity" /dev kernel >kernel.txt || fail "the kernel's run failed"
timeout --kill-after=5 120 setpriv --reuid="${user%:*}" --regid="${user#*:}" --clear-groups \
  env -C loopfs HOME="$PWD/loopfs" "$LOOPFS" run -- "$parity" /dev "$PWD/loopfs" >loopfs.txt || fail "the sandbox's run failed"

declare -A kernel=() loopfs=()
read_results() { # FILE ARRAY
  local line
  local -n results=$2
  # shellcheck disable=SC2034 # a reference
  while IFS= read -r line; do results[${line%%: *}]=${line#*: }; done <"$1"
}
read_results kernel.txt kernel
read_results loopfs.txt loopfs
# A kernel built without MBR support has no say about partition tables.
if [ -n "${kernel[table/unsupported]:-}" ]; then
  for case in "${!kernel[@]}" "${!loopfs[@]}"; do
    case $case in table/*) unset "kernel[$case]" "loopfs[$case]" ;; esac
  done
fi

# | `case` | `kernel` | `loopfs` | reason |: the first three are patterns as in sh.
patterns=() theirs=() ours=() used=()
while IFS='|' read -r _ pattern their our _; do
  pattern=${pattern#*\`} their=${their#*\`} our=${our#*\`}
  patterns+=("${pattern%\`*}") theirs+=("${their%\`*}") ours+=("${our%\`*}") used+=(0)
done < <(grep '^| `' "$DIFFERENCES")

status=0
while IFS= read -r case; do
  k=${kernel[$case]-none} l=${loopfs[$case]-none}
  [ "$k" != "$l" ] || continue
  listed=no
  for i in "${!patterns[@]}"; do
    # shellcheck disable=SC2053 # they are patterns
    if [[ $case == ${patterns[i]} && $k == ${theirs[i]} && $l == ${ours[i]} ]]; then
      used[i]=1 listed=yes
      break
    fi
  done
  [ "$listed" = yes ] || { printf 'NOT LISTED: %s\n  kernel: %s\n  loopfs: %s\n' "$case" "$k" "$l"; status=1; }
done < <(printf '%s\n' "${!kernel[@]}" "${!loopfs[@]}" | sort -u)
for i in "${!patterns[@]}"; do
  [ "${used[i]}" = 1 ] || { printf 'LISTED, BUT DOES NOT OCCUR: %s\n' "${patterns[i]}"; status=1; }
done
echo "${#kernel[@]} cases on the kernel, ${#loopfs[@]} on loopfs"
exit $status
