#!/usr/bin/env bash
# The README's recipes for containers, with the options that stand there: in root's podman with crun and runc, with and without
# a user namespace, and in that of an unprivileged user.
# run-as: root
# timeout: 900
# serial: yes
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/loopfsd_lib.sh"
. "$(dirname "$0")/container_lib.sh"
require setpriv newuidmap
static=$TEST_FOLDER/bin/static
[ -x "$static/loopfs" ] || skip "make static has not been run"

finish() {
  stop_containers
  end_daemon
}
readme=$(sed -e ':a' -e '/\\$/N; s/ *\\\n */ /; ta' "$LOOPFS_SOURCE/README.md" | tr -d "'")
# recipe START: the line of the README that starts so, from its options to IMAGE, in the array options; of the volumes,
# those of this test. What comes after IMAGE is in the array job.
recipe() {
  local line word words=()
  line=$(grep -m 1 -F -- "$1" <<<"$readme") || fail "not in README.md: $1"
  options=() job=()
  read -ra words <<<"$line"
  words=("${words[@]:2}") # podman run
  while [ ${#words[@]} -gt 0 ]; do
    word=${words[0]} words=("${words[@]:1}")
    case $word in
      IMAGE) break ;;
      -it) ;;
      -v) words=("${words[@]:1}") ;;
      --device-cgroup-rule) options+=("$word" "${words[*]:0:3}") words=("${words[@]:3}") ;;
      *) options+=("$word") ;;
    esac
  done
  job=("${words[@]}")
  options+=(-v "$TEST_FOLDER/run:/run/loopfs" -v "$static/loopfs:/usr/bin/loopfs:ro" -v "$PWD/build.sh:/build.sh:ro"
    -v "$static/mount.loopfs:/sbin/mount.loopfs:ro" -v "$PWD/links.sh:/links.sh:ro")
}

# The README's example of a job.
cat >build.sh <<'IN'
set -eu
cd /tmp
truncate -s 64M disk.img
printf 'label: gpt\n,16M,U\n,,L\n' | sfdisk -q disk.img
[ "$(losetup -fP --show disk.img)" = /dev/loop0 ]
mkfs.vfat /dev/loop0p1 >/dev/null
mkfs.ext4 -q /dev/loop0p2 2>/dev/null
case ${1:-mount} in
  mount) mount /dev/loop0p2 /mnt ;;
  fuse2fs) fuse2fs /dev/loop0p2 /mnt ;;
esac
cp -a /etc/passwd /mnt
umount /mnt
while ! e2fsck -fn /dev/loop0p2 >/tmp/e2fsck 2>&1; do
  pgrep -x fuse2fs >/dev/null || { cat /tmp/e2fsck; exit 1; } # it writes when it ends
done
losetup -d /dev/loop0
echo "built by $(id -u)"
IN
# What the README has one type in a container without a sandbox.
{
  echo 'set -eu'
  sed -n 's/^container# //p' "$LOOPFS_SOURCE/README.md" | sed '/^losetup/,$d'
  # shellcheck disable=SC2016 # for the container
  echo 'exec bash /build.sh "$1"'
} >links.sh
assert_match "$(<links.sh)" 'mount -t loopfs'
chmod 0755 . && chmod 0644 build.sh links.sh
start_daemon 800000
ln -s manager "$TEST_FOLDER/run/io.loopfs.Manager" # the name that programs look for
trap finish EXIT

# Docker's default profile forbids these two to a container without CAP_SYS_PTRACE, and the latter to each.
without() { # CALL...: podman's profile, less these
  python3 - "$@" <<'PYTHON'
import json, sys
profile = json.load(open("/usr/share/containers/seccomp.json"))
for rule in profile["syscalls"]:
    rule["names"] = [name for name in rule["names"] if name not in sys.argv[1:]]
json.dump(profile, sys.stdout)
PYTHON
}
without pivot_root pidfd_getfd >docker.json
without pivot_root >docker-ptrace.json

# What CMD says, but for the caution about what fuse2fs cannot.
said() { "$@" 2>&1 | grep -v '^loopfs: mount .* fuse2fs: there are no ACLs'; }

for kind in "${container_kinds[@]}"; do
  read -r runtime userns <<<"$kind"
  recipe 'podman run --device /dev/fuse --security-opt unmask=ALL IMAGE'
  assert_eq "$(said run_container "$runtime" "$userns" "${options[@]}" -- "${job[@]}")" "built by 0" "$kind"
  user_options=("${options[@]}")

  recipe 'podman run --device /dev/fuse --security-opt unmask=ALL --device-cgroup-rule'
  assert_match "${job[*]}" '--engine kernel'
  status=0
  output=$(said run_container "$runtime" "$userns" "${options[@]}" -- "${job[@]}") || status=$?
  case $kind in
    "runc private") assert_match "$output" 'Operation not permitted' ;; # as the README says
    *) assert_eq "$output" "built by 0" "$kind" ;;
  esac

  recipe 'podman run -it --cap-add SYS_ADMIN'
  [ "$kind" != "runc private" ] || continue
  how=mount
  [ "$userns" = host ] || how=fuse2fs
  assert_eq "$(said run_container "$runtime" "$userns" "${options[@]}" -- bash /links.sh $how)" "built by 0" "$kind"
  wait_for 10 none_bound
done

# As Docker has it, in what matters here.
assert_eq "$(said run_container crun host --cap-add SYS_ADMIN --cap-add SYS_PTRACE --security-opt seccomp="$PWD/docker-ptrace.json" \
  "${user_options[@]}" -- "${job[@]:0:0}" loopfs run -- bash build.sh)" "built by 0"
assert_status 1 run_container crun host --cap-add SYS_ADMIN --security-opt seccomp="$PWD/docker.json" "${user_options[@]}" \
  -- loopfs run -- bash build.sh
assert_match "$output" '^loopfs: pidfd_getfd .*--cap-add SYS_PTRACE'

# An unprivileged user's own podman: his image, his ids.
mkdir rootless
tar -C "$(container_root host)" --exclude='./dev/*' -cf rootless/image.tar .
chown -R nobody: rootless
echo nobody:300000:65536 >subid
rootless() {
  # shellcheck disable=SC2016 # for the inner shell
  timeout --signal=KILL 240 unshare --mount --pid --fork --mount-proc --kill-child bash -euc '
    mount --bind subid /etc/subuid
    mount --bind subid /etc/subgid
    mount -t tmpfs none /dev/shm
    [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 none /sys/fs/cgroup
    cd rootless
    setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups \
      env -i PATH="$PATH" HOME="$PWD" XDG_RUNTIME_DIR="$PWD" podman --log-level=error --cgroup-manager=cgroupfs --runtime crun "$@"' podman "$@"
}
rootless import -q image.tar image >/dev/null
for recipe in 'podman run --device /dev/fuse --security-opt unmask=ALL IMAGE' \
  'podman run --device /dev/fuse --security-opt unmask=ALL --device-cgroup-rule'; do
  recipe "$recipe"
  # The limits and the cgroup are this machine's matter.
  assert_eq "$(said rootless run --rm --cgroups=disabled --network=none --pids-limit=0 --ulimit nofile=1024:1024 \
    --ulimit nproc=1000:1000 "${options[@]}" image "${job[@]}")" "built by 0" "$recipe"
done
wait_for 10 none_bound
# What belongs to the user's ids goes by their hand.
rootless rmi -f image >/dev/null
