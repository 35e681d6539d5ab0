#!/usr/bin/env bash
# loopfsd.socket and loopfsd.service under a real systemd: started by a connection, ready, reloaded, started again when
# killed, stopped; and the hardening leaves the daemon what it needs. First with a program in the daemon's place that
# tries all that (helpers/daemon_rights.py), then with the daemon.
# run-as: root
# serial: yes
#
# systemd is process 1 of namespaces of its own, on an overlay of this machine's Debian, with /dev and /run to itself
# and nothing to start but our units and what they want.
. "$(dirname "$0")/lib.sh"
require unshare losetup mke2fs fuse2fs setpriv python3
[ -x /lib/systemd/systemd ] || skip "systemd is not installed"
[ -c /dev/loop-control ] || unavailable "no /dev/loop-control"
number=$((250000 + RANDOM)) # nobody else's
while [ -e "/sys/block/loop$number" ]; do number=$((number + 1)); done

programs=$LOOPFS_SOURCE/build/release/bin
export number programs

machine_pid=
cleanup() {
  [ -z "$machine_pid" ] || kill -KILL "$machine_pid" 2>/dev/null || true
  [ -e "/sys/block/loop$number" ] || return 0
  [ ! -e "/sys/block/loop$number/loop" ] || losetup -d "/dev/loop$number"
  python3 -c 'import fcntl, sys; fcntl.ioctl(open("/dev/loop-control"), 0x4C81, int(sys.argv[1]))' "$number"
}
trap cleanup EXIT

# What systemd runs: the steps of the test, to /results.
cat >stand_in.sh <<'EOF'
exec >>/results 2>&1
state() { systemctl show --property ActiveState --value "$1"; }
main_pid() { systemctl show --property MainPID --value loopfsd.service; }
until_ready() { for _ in $(seq 300); do [ "$(state loopfsd.service)" = active ] && return; sleep 0.1; done; }

systemctl start loopfsd.socket
echo "mode of the socket: $(stat -c %a /run/loopfs/io.loopfs.Manager)"
echo "before a connection: $(state loopfsd.service)"
setpriv --reuid=65534 --regid=65534 --clear-groups python3 -c '
import socket
socket.socket(socket.AF_UNIX).connect("/run/loopfs/io.loopfs.Manager")'
until_ready
echo "after a connection: $(state loopfsd.service)"
first=$(main_pid)
systemctl reload loopfsd.service
for _ in $(seq 100); do grep -q "signal: HUP" /results && break; sleep 0.1; done
[ "$(main_pid)" = "$first" ] && echo "reloaded: the same process"
kill -KILL "$first"
for _ in $(seq 100); do [ "$(main_pid)" != "$first" ] && break; sleep 0.1; done
until_ready
echo "after SIGKILL: $(state loopfsd.service), started again $(systemctl show --property NRestarts --value loopfsd.service) time"
systemctl stop loopfsd.service 2>/dev/null # it warns that the socket can start it again
echo "stopped: $(state loopfsd.service), $(state loopfsd.socket), $(ls /run/loopfs)"
systemctl stop loopfsd.socket
echo "socket stopped: $(ls /run/loopfs)"
echo "end"
systemctl exit 0
EOF

cat >daemon.sh <<'EOF'
exec >>/results 2>&1
systemctl start loopfsd.socket
mkfifo -m 0666 /tmp/go
setpriv --reuid=65534 --regid=65534 --clear-groups unshare -Urm bash -c '
  free_device() { python3 -c "import fcntl; print(\"free:\", fcntl.ioctl(open(\"/mnt/loop-control\"), 0x4C82))"; }
  mount.loopfs none /mnt && free_device
  echo "mounted" && read -r _ </tmp/go
  free_device' &
for _ in $(seq 100); do grep -q "^mounted" /results && break; sleep 0.1; done
echo "service: $(systemctl show --property ActiveState --value loopfsd.service)"
server=$(pgrep --parent "$(systemctl show --property MainPID --value loopfsd.service)")
kill -KILL "$server"
echo >/tmp/go
wait
echo "started again: $(systemctl show --property NRestarts --value loopfsd.service)"
systemctl stop loopfsd.service loopfsd.socket
echo "stopped: $(systemctl show --property Result --value loopfsd.service)"
mkdir -p /etc/loopfs
echo 'nonsense = 1' >/etc/loopfs/loopfs.toml
systemctl start loopfsd.service 2>/dev/null || true
echo "a wrong configuration: $(systemctl show --property ActiveState,ExecMainStatus,NRestarts loopfsd.service | paste -sd ' ')"
echo "end"
systemctl exit 0
EOF

# machine SCRIPT: systemd, in this shell's place, and the script.
machine() {
  local node name major minor
  mkdir -p overlay
  mount -t tmpfs tmpfs overlay
  mkdir overlay/{files,work,root}
  mount -t overlay -o lowerdir=/,upperdir=overlay/files,workdir=overlay/work overlay overlay/root
  cp "$LOOPFS" overlay/root/usr/bin/loopfs
  if [ "$1" = daemon.sh ]; then
    cp "$programs/loopfsd" "$programs/mount.loopfs" overlay/root/usr/sbin/
  else
    install -m 0755 "$TEST_FOLDER/tests/system/helpers/daemon_rights.py" overlay/root/usr/sbin/loopfsd
  fi
  cp "$LOOPFS_SOURCE"/packaging/systemd/* overlay/root/lib/systemd/system/
  cp "$1" overlay/root/drive.sh
  touch overlay/root/results
  mount --bind results overlay/root/results
  cd overlay/root
  mount -t proc proc proc
  mount -t sysfs -o ro sysfs sys
  mount -t cgroup2 cgroup2 sys/fs/cgroup
  mount -t tmpfs -o mode=0755 tmpfs run
  mount -t tmpfs -o mode=1777 tmpfs tmp
  mount -t tmpfs -o mode=0755 tmpfs dev
  for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 fuse:10:229 loop-control:10:237; do
    IFS=: read -r name major minor <<<"$node"
    mknod -m 0666 "dev/$name" c "$major" "$minor"
  done
  mkdir dev/{pts,shm}
  mount -t devpts devpts dev/pts
  ln -s pts/ptmx dev/ptmx
  ln -s /proc/self/fd dev/fd

  # Units that would act on the machine, should anything want them.
  rm -rf etc/systemd/system/*.wants
  for name in systemd-{sysctl,modules-load,udevd,udev-trigger,remount-fs,binfmt,networkd,timesyncd,resolved}.service \
    systemd-udevd-{control,kernel}.socket systemd-tmpfiles-setup-dev.service kmod-static-nodes.service \
    lvm2-monitor.service mdmonitor.service udisks2.service; do
    ln -sf /dev/null "etc/systemd/system/$name"
  done
  mkdir etc/systemd/system/{default.target.wants,loopfsd.service.d}
  printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >etc/systemd/system/default.target
  printf '[Service]\nType=oneshot\nExecStart=/bin/bash /drive.sh\n' >etc/systemd/system/drive.service
  ln -s ../drive.service etc/systemd/system/default.target.wants/
  printf '[Service]\nEnvironment=LOOP_NUMBER=%s\n' "$number" >etc/systemd/system/loopfsd.service.d/test.conf

  mkdir old
  pivot_root . old # no chroot: user namespaces cannot be made in one
  cd /
  umount -l /old
  exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --log-target=null
}

# run_machine SCRIPT: leaves its results in $results.
run_machine() {
  : >results
  # shellcheck disable=SC2016 # for the inner shell
  unshare --mount --pid --cgroup --uts --ipc --net --fork \
    --kill-child --propagation private bash -c '. "$0"; eval "$1"; machine "$2"' \
    "$TEST_FOLDER/tests/system/lib.sh" "$(declare -f)" "$1" >machine.log 2>&1 &
  machine_pid=$!
  wait_for 60 something_came
  [ -s results ] || unavailable "systemd does not start here: $(cat machine.log)"
  wait_for 60 grep -qx end results
  wait $machine_pid || true
  machine_pid=
  results=$(cat results)
}
something_came() { [ -s results ] || ! kill -0 "$machine_pid"; }

run_machine stand_in.sh
rights='socket: /run/loopfs/io.loopfs.Manager
mount namespace of init: True
kernel device: mke2fs: ok
kernel device: losetup: ok
kernel device: mount: ok
kernel device: umount: ok
kernel device: losetup: ok
pidfd_getfd: ok
process_vm_readv: ok
setns mnt: ok
setns user: ok
loopfs: ok
settimeofday: EPERM
delete_module: EPERM
AF_INET: EAFNOSUPPORT'
assert_eq "$results" "mode of the socket: 666
before a connection: inactive
$rights
after a connection: active
signal: HUP
reloaded: the same process
$rights
after SIGKILL: active, started again 1 time
signal: TERM
stopped: inactive, active, io.loopfs.Manager
socket stopped: 
end"

if [ ! -x "$programs/loopfsd" ]; then
  echo "not built, so not tried: loopfsd"
  exit 0
fi
run_machine daemon.sh
assert_eq "$results" "free: 0
mounted
service: active
free: 0
started again: 0
stopped: success
a wrong configuration: NRestarts=0 ExecMainStatus=78 ActiveState=failed
end"
