#!/usr/bin/env bash
# Below a container's seccomp profile that forbids a part: told at the start, in one line, with what helps; and where
# pivot_root(2) is refused, as also on an initramfs, there is another way that leads out as little.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require perl mkfs.ext4 fuse2fs busybox

refuse() { timeout -k 5 60 "$TEST_FOLDER/tests/system/helpers/refuse" "$@"; }

# Docker's default profile with SYS_ADMIN.
for call in pidfd_getfd process_vm_readv; do
  assert_status 1 refuse EPERM $call -- "$LOOPFS" run -- sh -c 'echo started; losetup -f'
  assert_eq "$(wc -l <<<"$output")" 1 "$output"
  assert_match "$output" "^loopfs: $call on a process in the sandbox .*--cap-add SYS_PTRACE.*: Operation not permitted$"
  assert_status 1 refuse EPERM $call -- "$LOOPFS" doctor
  assert_match "$output" "^missing +$call +Operation not permitted"
  assert_match "$output" 'remedy: .*--cap-add SYS_PTRACE'
done

# doctor tries what a mount needs.
assert_status 0 "$LOOPFS" doctor
assert_match "$output" '^OK +root of FUSE programs +by pivot_root$'
assert_status 0 refuse EPERM pivot_root -- "$LOOPFS" doctor
assert_match "$output" '^OK +root of FUSE programs +by chroot: .*Operation not permitted'
assert_status 0 refuse EPERM pivot_root chroot -- "$LOOPFS" doctor
assert_match "$output" '^lacking +root of FUSE programs '
assert_match "$output" 'remedy: .*seccomp=unconfined'

mkdir content d
echo hello >content/file
truncate -s 16M fs.img
mkfs.ext4 -q -d content fs.img
mkdir -p tree/{bin,proc,sys,dev,tmp,usr,d}
cp --sparse=always fs.img tree/
cp "$(command -v busybox)" tree/bin/
ln -s busybox tree/bin/sh
for folder in lib lib64; do [ ! -L /$folder ] || ln -s "usr/$folder" tree/$folder; done

# What Linux 5.10 lacks: the devices work, mounting them does not.
old() { refuse ENOSYS mount_setattr -- "$@"; }
assert_status 0 old "$LOOPFS" doctor
assert_match "$output" '^lacking +mount API +no mounts of devices'
assert_eq "$(old "$LOOPFS" run -- sh -c 'losetup -f --show fs.img && e2fsck -fn /dev/loop0 >/dev/null 2>&1 && echo clean')" \
  $'/dev/loop0\nclean'
assert_status 32 old "$LOOPFS" run -- mount -o loop fs.img d
assert_match "$output" '^loopfs: .*mount_setattr'

# A program that goes up as far as it can, and says what it is and what is there.
# shellcheck disable=SC2016 # for the program's shell
look='for i in 1 2 3 4 5 6 7 8 9; do cd ..; done; echo error: $(ls -a) $(ls -a /) $(sed -n "s/^CapEff:.//p; s/^CapBnd:.//p" /proc/self/status) $(wc -l </proc/self/mountinfo) >&2; exit 1'
printf '[[program]]\nfilesystems = ["ext4"]\ncommand = ["/bin/sh", "-c", %s, "{image}", "{mountpoint}"]\n' \
  "'''$look'''" >look.toml

# Where chroot(2) came before it: a process that may do so once more gets out of some.
# shellcheck disable=SC2016 # for perl
escape='
  mkdir "/tmp/deeper"; chroot "/tmp/deeper" or die "chroot: $!";
  for (1 .. 50) { chdir ".." }
  chroot "." or die "chroot: $!";
  opendir(my $root, "/") or die "$!";
  print join(" ", sort grep { !/^\.\.?$/ } readdir $root), "\n"'
for errno in none EINVAL EPERM; do
  below=()
  [ $errno = none ] || below=("$TEST_FOLDER/tests/system/helpers/refuse" "$errno" pivot_root --)
  run() { timeout -k 5 60 "${below[@]}" "$LOOPFS" run "$@"; }
  assert_eq "$(run -- sh -c 'mount -o loop fs.img d && cat d/file && echo new >d/new && umount d && mount -o loop fs.img d && cat d/new')" \
    $'hello\nnew' "$errno"

  assert_status 32 run --config look.toml -- mount -o loop fs.img d
  seen=$(sed -n 's/.*error: //p' <<<"$output")
  # Twice the same, and nothing of the machine but programs; CAP_DAC_OVERRIDE and no other.
  assert_match "$seen" '^(\. \.\. [a-z0-9 ]* )\10000000000000002 0000000000000002 [0-9]+$'
  assert_match "$seen" ' mnt '
  assert_no_match "$seen" ' (tmp|home|root|var|sys|boot) '
  case $errno in
    none) expected=$seen ;;
    *) assert_eq "$seen" "$expected" "$errno" ;;
  esac

  assert_eq "$(run --root tree --bind /usr:/usr -- /usr/bin/perl -e "$escape")" \
    "$(find tree -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | xargs)" "$errno"
  assert_eq "$(run --root tree --bind /usr:/usr -- /usr/bin/sh -c 'mount -o loop /fs.img /d && cat /d/file')" hello "$errno"
  # Sandboxes in it, as in any: what is only a chroot may have no user namespaces.
  # shellcheck disable=SC2016 # for the inner shell
  assert_eq "$(run --root tree --bind /usr:/usr -- /usr/bin/unshare -Urm /bin/busybox echo made)" made "$errno"
  assert_no_match "$(run --root tree -- /bin/busybox cat /proc/self/mountinfo)" ' /(usr|var|home|root) '
done
