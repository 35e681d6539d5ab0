#!/usr/bin/env bash
# Containers of podman run on this machine, with crun and runc, with and without a user namespace, in the foreground
# and in the background, and nothing of them is left.
# run-as: root
# timeout: 600
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/container_lib.sh"

milliseconds() { echo $((${EPOCHREALTIME/./} / 1000)); }

works() { # RUNTIME USERNS
  local start outer_ids="0 0 4294967295" uid=0 status=0
  [ "$2" = host ] || { outer_ids="0 $container_base 65536"; uid=$container_base; }
  mkdir -p "shared.$2"
  chown "$uid:$uid" "shared.$2"

  start=$(milliseconds)
  assert_eq "$(run_container "$1" "$2" -- id -u)" 0
  echo "$1 $2: a container in $(($(milliseconds) - start)) ms"
  assert_eq "$(run_container "$1" "$2" -- cat /proc/self/uid_map | xargs)" "$outer_ids"
  assert_status 3 run_container "$1" "$2" -- sh -c 'exit 3'
  # shellcheck disable=SC2016 # for the container's shell
  run_container "$1" "$2" -v "$PWD/shared.$2:/shared" -- \
    sh -c 'mkdir /etc/made; echo "$(id -u) $1" >/shared/file' sh "$1"
  assert_eq "$(<"shared.$2/file")" "0 $1"
  assert_eq "$(stat -c %u "shared.$2/file")" "$uid"

  start=$(milliseconds)
  start_container it "$1" "$2" -- sh -c 'echo "started $$"; exec sleep 1000'
  echo "$1 $2: one in the background in $(($(milliseconds) - start)) ms"
  wait_for 5 grep -qx 'started 1' it.out
  wait_for 5 grep -qx sleep "/proc/$container_pid/comm"
  assert_eq "$(awk '/^Uid:/ {print $2}' "/proc/$container_pid/status")" "$uid"
  start=$(milliseconds)
  assert_eq "$(container_exec it sh -c 'cat /proc/1/comm; id -u' | xargs)" "sleep 0"
  echo "$1 $2: a command in it in $(($(milliseconds) - start)) ms"
  kill -KILL "$container_pid"
  container_wait it || status=$?
  assert_eq "$status" 137
  [ ! -e "/proc/$container_pid" ] || fail "the container's first process still exists"
}

for kind in "${container_kinds[@]}"; do
  # shellcheck disable=SC2086 # two words
  works $kind
done

# Two at once, and an end by stop_containers.
start_container one crun private -- sleep 1000
one=$container_pid
start_container two runc host -- sleep 1000
two=$container_pid
[ "$(readlink "/proc/$one/ns/pid")" != "$(readlink "/proc/$two/ns/pid")" ] || fail "the same container"
stop_containers
if [ -e "/proc/$one" ] || [ -e "/proc/$two" ]; then fail "a container is left"; fi
assert_eq "$(find "$container_cgroup2" -name "$container_cgroup")" "" "a cgroup is left"
