#!/usr/bin/env bash
# loopfs killed with SIGKILL at any moment, set-up included: no process, no mount stays.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"

mounts_before=$(wc -l </proc/self/mountinfo)

# left TAG: processes with the tag in their command line, not counting zombies.
left() {
  local file
  for file in /proc/[0-9]*/cmdline; do
    if { tr '\0' ' ' <"$file" | grep -qF -e "$1"; } 2>/dev/null; then
      grep -qs '^State:[[:space:]]*Z' "${file%cmdline}status" || echo "${file//[!0-9]/}"
    fi
  done
}
nothing_left() { [ -z "$(left "$1")" ]; }

# An unusual number of seconds is the mark of this round's processes.
for round in {1..60}; do
  tag=$((90000000 + round * 1000 + RANDOM % 1000))
  setsid "$LOOPFS" run -- sh -c "sleep $tag & setsid sleep $tag & exec sleep $tag" &
  job=$!
  read -r -t "0.0$(printf %02d $((RANDOM % 60)))" <> <(:) || true
  kill -KILL $job
  wait $job 2>/dev/null || true
  wait_for 10 nothing_left $tag
done
assert_eq "$(wc -l </proc/self/mountinfo)" "$mounts_before" "mounts"
