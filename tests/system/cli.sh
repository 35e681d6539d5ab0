#!/usr/bin/env bash
# The program as a program: version, help, mistakes in the command line, and what `loopfs doctor` makes of machines
# that lack something.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require bwrap

assert_status 0 "$LOOPFS" --version
assert_match "$output" '^loopfs [0-9]+\.[0-9]+\.[0-9]+$'
for words in --help 'run --help' 'doctor --help' 'ls --help' 'inspect --help' 'events --help' 'limit --help' 'attach --help' \
  'detach --help'; do
  # shellcheck disable=SC2086 # words
  assert_status 0 "$LOOPFS" $words
  assert_match "$output" 'Usage: loopfs'
done
for words in '' run 'run --' 'run --bogus true' 'run --max 0 true' 'run --engine warp true' 'doctor me' walk \
  'ls me' inspect 'limit 5' 'limit --uid 5' attach 'attach --offset x y' detach; do
  # shellcheck disable=SC2086 # words
  assert_status 2 "$LOOPFS" $words
  assert_match "$output" '^loopfs: [^[:cntrl:]]+$'
  assert_eq "$(wc -l <<<"$output")" 1 "one line"
done

# doctor on this machine, and without what it needs
assert_status 0 "$LOOPFS" doctor
assert_match "$output" '^OK +/dev/fuse '
assert_match "$output" '^OK +user namespaces '
assert_match "$output" 'fuse2fs'
assert_match "$output" 'loopfs run. works here'
assert_status 1 bwrap --dev-bind / / --ro-bind /dev/null /dev/fuse "$LOOPFS" doctor
assert_match "$output" '^missing +/dev/fuse '
assert_match "$output" 'loopfs run. cannot work here'
# shellcheck disable=SC2016 # for the inner shell
assert_status 1 unshare -Ur bash -c 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$LOOPFS" doctor'
assert_match "$output" '^missing +user namespaces '
assert_match "$output" 'remedy: .*user.max_user_namespaces'
assert_status 0 bwrap --dev-bind / / --ro-bind /dev/null "$(realpath "$(command -v squashfuse)")" "$LOOPFS" doctor
echo 'this is [not toml' >broken.toml
assert_status 1 "$LOOPFS" doctor --config broken.toml
assert_match "$output" 'broken\.toml'
assert_match "$output" 'remedy: mend the file'
# Below the supervisor of a sandbox it says whose that is.
assert_status 0 sandbox -- "$LOOPFS" doctor
