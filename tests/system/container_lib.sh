# shellcheck shell=bash
# Real containers for the system tests: podman with crun or runc, with the host's user namespace or a private one.
# For scripts that run as root, after lib.sh:
#   . "$(dirname "$0")/container_lib.sh"
#   run_container crun private -- id -u
#
# Each container has a podman of its own, whose folders are below $TEST_FOLDER/containers, and which runs in a mount
# and a pid namespace of its own: the end of that pid namespace is the end of everything podman started there.
# A script with an EXIT trap of its own has to call stop_containers in it.

container_packages=(dosfstools e2fsprogs fdisk fuse2fs mount procps python3-minimal util-linux)
# shellcheck disable=SC2034 # for the scripts
container_kinds=("crun host" "crun private" "runc host" "runc private")
container_base=200000 # a private user namespace's root on the host, as in container_ids
container_ids=(--uidmap "0:$container_base:65536" --gidmap "0:$container_base:65536")
declare -A container_at=() container_shell=() # of those in the background, by name: the folder, the pid of unshare

# The cgroup below which the containers' are made, and where the machine has cgroup2.
container_cgroup=loopfs-test.${TEST_FOLDER##*.}
container_cgroup2=$(findmnt -n -t cgroup2 -o TARGET | head -n1 || true)

# container_root [host|private]: prints the folder of a Debian root file system whose files belong to root, or to
# the root of a private user namespace. Made once, and again when the packages change.
container_root() {
  local cache=${LOOPFS_TEST_CACHE:-$LOOPFS_SOURCE/build}/container-root suite name
  suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
  name=$cache/$(echo "$suite $container_base ${container_packages[*]}" | sha256sum | cut -c1-12)
  if [ ! -d "$name" ]; then
    mkdir -p "$cache"
    (
      flock 9
      [ ! -d "$name" ] || exit 0 # another test has made it meanwhile
      find "$cache" -mindepth 1 -maxdepth 1 -type d -exec rm -rf --one-file-system {} +
      # errexit is off here: the caller asks for the status. A mirror may be out of reach for a moment.
      for _ in 1 2 3; do
        if make_container_root "$suite" "$name.new"; then
          mv "$name.new" "$name"
          exit
        fi
        rm -rf --one-file-system "$name.new"
      done
      exit 1
    ) 9>"$cache/lock" || return
  fi
  echo "$name/${1:-host}"
}

make_container_root() { # SUITE FOLDER
  local log="$TEST_FOLDER/mmdebstrap.log"
  mkdir "$2"
  mmdebstrap --quiet --mode=root --variant=apt --include="$(IFS=,; echo "${container_packages[*]}")" "$1" "$2/host" \
    >"$log" 2>&1 || { cat "$log"; return 1; } >&2
  cp -a "$2/host" "$2/private" || return
  python3 - "$2/private" "$container_base" <<'PYTHON'
import os, stat, sys
base = int(sys.argv[2])
def move(path):
    seen = os.lstat(path)
    os.lchown(path, seen.st_uid + base, seen.st_gid + base)
    if not stat.S_ISLNK(seen.st_mode):
        os.chmod(path, stat.S_IMODE(seen.st_mode))  # chown takes the set-user-ID bits away
for folder, folders, files in os.walk(sys.argv[1], topdown=False):
    for name in folders + files:
        move(os.path.join(folder, name))
move(sys.argv[1])
PYTHON
}

# Whether podman can lay an overlay over the root, which writes into the test's folder.
container_overlay_works() {
  local at=$TEST_FOLDER/containers/overlay
  if [ ! -e "$at/answer" ]; then
    mkdir -p "$at"/{lower,upper,work,on}
    # shellcheck disable=SC2016 # for the inner shell
    unshare -m sh -c 'mount -t overlay -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" none "$1/on"' \
      sh "$at" 2>/dev/null && echo yes >"$at/answer" || echo no >"$at/answer"
  fi
  [ "$(<"$at/answer")" = yes ]
}

# container_allow_devices RULE...: the device cgroup of all containers from now on lets these through ("b:7" for all
# block devices of that major number). podman has --device-cgroup-rule for it, but not in a private user namespace,
# where runc then denies all but the standard devices; so it is written into the container's configuration.
container_allow_devices() {
  local hooks=$TEST_FOLDER/containers/hooks
  mkdir -p "$hooks"
  cat >"$hooks/allow" <<'PYTHON'
#!/usr/bin/python3
import json, sys
config = json.load(sys.stdin)
devices = config["linux"].setdefault("resources", {}).setdefault("devices", [])
for rule in sys.argv[1:]:
    kind, major = rule.split(":")
    devices.append({"allow": True, "type": kind, "major": int(major), "access": "rw"})
json.dump(config, sys.stdout)
PYTHON
  chmod +x "$hooks/allow"
  python3 - "$hooks/allow" "$@" >"$hooks/allow.json" <<'PYTHON'
import json, sys
hook = {"path": sys.argv[1], "args": ["allow"] + sys.argv[2:]}
print(json.dumps({"version": "1.0.0", "hook": hook, "when": {"always": True}, "stages": ["precreate"]}))
PYTHON
}

# container_podman FOLDER RUNTIME: sets the array podman, the program with its global options.
container_podman() {
  podman=(podman --root "$1/graph" --runroot "$1/state" --tmpdir "$1/tmp" --network-config-dir "$1/network"
    --runtime "$2" --runtime-flag "root=$1/runtime" --cgroup-manager=cgroupfs --events-backend=none)
  [ ! -d "$TEST_FOLDER/containers/hooks" ] || podman+=(--hooks-dir "$TEST_FOLDER/containers/hooks")
}

# prepare_container FOLDER RUNTIME USERNS [OPTION...] -- CMD...: sets the array podman_run.
# CONTAINER_CGROUPS=enabled|disabled says what crun gets; runc knows no other than enabled.
prepare_container() {
  local at=$1 runtime=$2 userns=$3 root cgroups=${CONTAINER_CGROUPS:-disabled} options=() podman
  shift 3
  root=$(container_root "$userns")
  [ "$runtime" = crun ] || cgroups=enabled
  [ "$cgroups" = disabled ] || options+=(--cgroup-parent="/$container_cgroup")
  [ "$userns" != private ] || options+=("${container_ids[@]}")
  while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  if container_overlay_works; then
    root+=:O
  else
    cp -a "$root" "$at/root"
    root=$at/root
  fi
  container_podman "$at" "$runtime"
  # The limits are those that podman may set without CAP_SYS_RESOURCE; one of processes wants a cgroup controller.
  # /dev/shm has podman's locks.
  # shellcheck disable=SC2016 # for the inner shells
  podman_run=(bash -c 'echo $$ >"$0/shell" && exec "$@"' "$at"
    unshare --mount --pid --fork --mount-proc --kill-child bash -c '
      [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 none /sys/fs/cgroup || exit
      mount -t tmpfs none /dev/shm || exit
      "$@"
      exit $?' podman
    "${podman[@]}" run ${with_stdin:+-i} --rm --name it --pidfile "$at/pid" --cgroups="$cgroups" --network=none --pids-limit=0
    --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 "${options[@]}" --rootfs "$root" "$@")
}

new_container_folder() {
  mkdir -p "$TEST_FOLDER/containers"
  mktemp -d "$TEST_FOLDER/containers/XXXXXX"
}

# run_container RUNTIME(crun|runc) USERNS(host|private) [PODMAN-OPTION...] -- CMD...: in the foreground, under a
# deadline of $CONTAINER_SECONDS. The status is the command's.
run_container() {
  local podman_run at with_stdin=yes
  at=$(new_container_folder)
  chmod 0711 "$at"
  prepare_container "$at" "$@"
  # With -i: not from the /dev/null of the machine, which crun would give to the root of the container.
  : | timeout --signal=KILL "${CONTAINER_SECONDS:-60}" "${podman_run[@]}"
}

# start_container NAME RUNTIME USERNS [PODMAN-OPTION...] -- CMD...: in the background. Returns when it runs; the pid
# on the host of its first process is then in $container_pid, its output goes to the file NAME.out.
start_container() {
  local name=$1 podman_run
  shift
  container_at[$name]=$(new_container_folder)
  chmod 0711 "${container_at[$name]}"
  echo "$1" >"${container_at[$name]}/runtime-name"
  prepare_container "${container_at[$name]}" "$@"
  setpriv --pdeathsig KILL "${podman_run[@]}" >"$name.out" 2>&1 &
  container_shell[$name]=$!
  wait_for 60 container_runs_or_ended "$name"
  # shellcheck disable=SC2034 # for the script
  container_pid=$(container_init_pid "$name") || fail "container $name: $(<"$name.out")"
}

container_runs_or_ended() { container_init_pid "$1" || ! kill -0 "${container_shell[$1]}"; }

# container_init_pid NAME: the pid, on the host, of the first process of a container in the background.
container_init_pid() {
  local inner outer status
  [ -s "${container_at[$1]}/pid" ] || return
  inner=$(<"${container_at[$1]}/pid")
  outer=$(pgrep -P "${container_shell[$1]}") || return
  outer=$(readlink "/proc/$outer/ns/pid") || return
  # Its pids from outside to inside are: the wanted, podman's for it, 1. Its parent, conmon, is in podman's namespace.
  while read -r status; do
    if [ "$(readlink "/proc/$(sed -n 's/^PPid:\s*//p' "$status")/ns/pid")" = "$outer" ]; then
      echo "${status//[^0-9]/}"
      return
    fi
  done < <(grep -slE "^NSpid:.*\s$inner\s+1\$" /proc/[0-9]*/status)
  return 1
}

# container_exec NAME CMD...: in a container of the background.
container_exec() {
  local at=${container_at[$1]} outer podman
  outer=$(pgrep -P "${container_shell[$1]}") || fail "container $1 has ended: $(<"$1.out")"
  shift
  container_podman "$at" "$(<"$at/runtime-name")"
  timeout --signal=KILL "${CONTAINER_SECONDS:-60}" nsenter -t "$outer" --mount --pid "${podman[@]}" exec it "$@"
}

# container_wait NAME: until its podman has ended; returns the status, 137 after a SIGKILL.
container_wait() {
  local status=0
  wait "${container_shell[$1]}" || status=$?
  unset "container_shell[$1]"
  return $status
}

# Ends all containers and removes their cgroups, also those of a test that was killed.
stop_containers() {
  local shell cgroup
  for shell in "$TEST_FOLDER"/containers/*/shell; do
    [ -s "$shell" ] || continue
    shell=$(<"$shell")
    [ "$(cat "/proc/$shell/comm" 2>/dev/null)" = unshare ] || continue
    pkill -KILL -P "$shell" || true # the first process of its pid namespace
    wait "$shell" 2>/dev/null || true
  done
  container_shell=()
  for cgroup in "$container_cgroup2"/loopfs-test.*; do
    [ ! -d "/tmp/${cgroup##*/}" ] || [ "${cgroup##*/}" = "$container_cgroup" ] || continue # that test still runs
    [ ! -d "$cgroup" ] || wait_for 5 find "$cgroup" -depth -type d -exec rmdir {} +
  done
  [ "$container_cgroup2" != "$TEST_FOLDER/cgroup2" ] || umount "$container_cgroup2"
}

require podman conmon crun runc mmdebstrap flock pgrep python3
if [ -z "$container_cgroup2" ]; then # it can be had beside cgroups of version 1
  container_cgroup2=$TEST_FOLDER/cgroup2
  mkdir "$container_cgroup2"
  mount -t cgroup2 none "$container_cgroup2" || unavailable "the kernel has no cgroup2"
fi
container_root >/dev/null || unavailable "mmdebstrap could not make the containers' root file system"
trap stop_containers EXIT
