#!/usr/bin/env bash
# [[program]] of a configuration file is used; a broken file is told in one line.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 fuse2fs

mkdir -p content d config/loopfs
echo hello >content/file
truncate -s 16M fs.img
mkfs.ext4 -q -d content fs.img

# A program that only says who it is shows whose entry was taken.
entry() {
  printf '[[program]]\nfilesystems = ["ext4"]\ncommand = ["/bin/sh", "-c", "echo %s >&2; exit 1", "{image}", "{mountpoint}"]\npackage = "x"\n' "$1"
}
entry own-file >own.toml
entry xdg-file >config/loopfs/loopfs.toml

assert_status 32 sandbox --config own.toml -- mount -o loop fs.img d
assert_match "$output" 'own-file'
assert_status 32 env XDG_CONFIG_HOME="$PWD/config" timeout 60 "$LOOPFS" run -- mount -o loop fs.img d
assert_match "$output" 'xdg-file'
assert_status 32 env XDG_CONFIG_HOME="$PWD/config" timeout 60 "$LOOPFS" run --config own.toml -- mount -o loop fs.img d
assert_match "$output" 'own-file'
# an entry for another type, with a real program: the built-in ones still count
printf '[[program]]\nfilesystems = ["other"]\ncommand = ["fuse2fs", "{image}", "{mountpoint}"]\n' >other.toml
assert_eq "$(sandbox --config other.toml -- sh -c 'mount -o loop fs.img d && cat d/file' 2>/dev/null)" hello
# a real program under the user's own options
printf '[[program]]\nfilesystems = ["ext4"]\ncommand = ["fuse2fs", "-f", "-o", "{options}", "{image}", "{mountpoint}"]\nread_only = true\n' >ro.toml
assert_status 0 sandbox --config ro.toml -- sh -c 'mount -o loop fs.img d && cat d/file; touch d/new 2>/dev/null || echo refused'
assert_eq "$(xargs <<<"$output")" "hello refused"

broken() { # REGEX: for the file broken.toml
  assert_status 1 sandbox --config broken.toml -- true
  assert_eq "$(wc -l <<<"$output")" 1 "one line: $output"
  assert_match "$output" "$1"
}
echo '[[program' >broken.toml
broken 'broken\.toml line 1'
printf '[[program]]\nfilesystems = ["a"]\nfoo = 1\n' >broken.toml
broken "unknown key 'foo'"
printf '[[program]]\nfilesystems = "a"\n' >broken.toml
broken 'wrong type'
printf '[[program]]\nfilesystems = ["a"]\ncommand = ["x"]\n' >broken.toml
broken 'needs filesystems'
rm broken.toml
broken 'broken\.toml'
