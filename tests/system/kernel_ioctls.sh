#!/usr/bin/env bash
# What the kernel keeps from the root of a user namespace, he has of his own devices in loopfs run --engine kernel, on the
# descriptor that he has, with its claim; and of nothing else. mkfs.xfs, which needs it, works.
# run-as: root
# serial: yes
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/loopfsd_lib.sh"
require losetup python3 mkfs.xfs

cat >calls.py <<'P'
import ctypes, errno, fcntl, os, struct, sys
SET_STATUS, SET_STATUS64, GET_STATUS, GET_STATUS64, SET_CAPACITY = 0x4C02, 0x4C04, 0x4C03, 0x4C05, 0x4C07
BLKBSZGET, BLKBSZSET, BLKFLSBUF, BLKROGET, BLKROSET, BLKRAGET, BLKRASET, BLKFRAGET, BLKFRASET = (
    0x80081270, 0x40081271, 0x1261, 0x125E, 0x125D, 0x1263, 0x1262, 0x1265, 0x1264)
def error(function):
    try: function()
    except OSError as failure: return errno.errorcode[failure.errno]
def number(fd, request, size): return int.from_bytes(fcntl.ioctl(fd, request, bytes(size))[:size], 'little')
node = sys.argv[1]
# By a descriptor that cannot write, by one that can, and by one with a claim.
for flags in os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_EXCL:
    fd = os.open(node, flags)
    for size in 1024, 4096:
        fcntl.ioctl(fd, BLKBSZSET, struct.pack('q', size))
        assert number(fd, BLKBSZGET, 8) == size
    assert error(lambda: fcntl.ioctl(fd, BLKBSZSET, struct.pack('q', 1000))) == 'EINVAL'
    assert error(lambda: fcntl.ioctl(fd, BLKBSZSET, 0)) == 'EINVAL'
    assert error(lambda: fcntl.ioctl(fd, BLKBSZSET, 8)) == 'EFAULT'
    fcntl.ioctl(fd, BLKROSET, struct.pack('i', 1))
    assert number(fd, BLKROGET, 4) == 1
    fcntl.ioctl(fd, BLKROSET, struct.pack('i', 0))
    assert number(fd, BLKROGET, 4) == 0
    fcntl.ioctl(fd, BLKRASET, 512)
    assert number(fd, BLKRAGET, 8) == 512
    fcntl.ioctl(fd, BLKFRASET, 256)
    assert number(fd, BLKFRAGET, 8) == 256
    assert error(lambda: fcntl.ioctl(fd, BLKRASET, 1 << 30)) == 'EINVAL'
    fcntl.ioctl(fd, BLKFLSBUF, 0)
    info = fcntl.ioctl(fd, GET_STATUS64, bytes(232))
    name = info[:56] + b'a name'.ljust(64, b'\0') + info[120:]
    fcntl.ioctl(fd, SET_STATUS64, name)
    assert fcntl.ioctl(fd, GET_STATUS64, bytes(232))[56:62] == b'a name'
    fcntl.ioctl(fd, SET_STATUS, fcntl.ioctl(fd, GET_STATUS, bytes(168)))
    fcntl.ioctl(fd, SET_CAPACITY, 0)
    for request in GET_STATUS, GET_STATUS64:
        assert error(lambda: fcntl.ioctl(fd, request, 0)) == 'EINVAL'
    os.close(fd)
# Beside the claim of another.
claim, plain = os.open(node, os.O_RDWR | os.O_EXCL), os.open(node, os.O_RDWR)
assert error(lambda: fcntl.ioctl(plain, BLKBSZSET, struct.pack('q', 1024))) == 'EBUSY'
fcntl.ioctl(claim, BLKBSZSET, struct.pack('q', 1024))
os.close(claim), os.close(plain)
# Who is root of a namespace further inside is not of this one.
fd = os.open(node, os.O_RDONLY)
if os.fork() == 0:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x10000000) == 0  # CLONE_NEWUSER
    assert error(lambda: fcntl.ioctl(fd, BLKFLSBUF, 0)) == 'EACCES'
    assert error(lambda: fcntl.ioctl(fd, SET_CAPACITY, 0)) == 'EPERM'
    os._exit(0)
assert os.wait()[1] == 0, 'in the inner namespace'
# Nor is who has given that up.
os.set_inheritable(fd, True)
without = f'''import errno, fcntl
try: fcntl.ioctl({fd}, {BLKFLSBUF}, 0)
except OSError as failure: raise SystemExit(failure.errno != errno.EACCES)
raise SystemExit(1)'''
if os.fork() == 0:
    os.execvp('setpriv', ['setpriv', '--bounding-set=-sys_admin', '--inh-caps=-sys_admin', 'python3', '-c', without])
assert os.wait()[1] == 0, 'without CAP_SYS_ADMIN'
P

# What loopfsd is asked for, by whoever is root of the instance, about something else.
cat >asked.py <<'P'
import errno, json, os, socket, struct, sys
BLKGETSIZE64, BLKFLSBUF, BLKBSZSET, BLKRASET, LOOP_CLR_FD, LOOP_CHANGE_FD = 0x80081272, 0x1261, 0x40081271, 0x1262, 0x4C01, 0x4C06
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
def call(method, **parameters):
    connection.sendall(json.dumps({'method': 'io.loopfs.Manager.' + method, 'parameters': parameters}).encode() + b'\0')
    answer = b''
    while not answer.endswith(b'\0'): answer += connection.recv(65536)
    return json.loads(answer[:-1])
instance = call('List')['parameters']['instances'][0]['id']
def ioctl(command, descriptor, device=0, **more):
    answer = call('Ioctl', instance=instance, device=device, descriptor=descriptor, command=command, **more)
    if answer.get('error', '').endswith('InvalidParameter'): return 'parameter'
    return errno.errorcode[answer['parameters']['errno']] if 'error' in answer else 'ok'
own, other = os.open('/dev/loop0', os.O_RDONLY), os.open('/dev/loop1', os.O_RDONLY)
size = list(struct.pack('i', 4096))
assert ioctl(BLKFLSBUF, own) == 'ok'
assert ioctl(BLKBSZSET, own, bytes=size) == 'ok'
for command in BLKGETSIZE64, LOOP_CLR_FD, LOOP_CHANGE_FD, 0x5412, 0x12ff: assert ioctl(command, own) == 'ENOTTY', command
for descriptor in other, os.open('a.img', os.O_RDWR), os.open('/dev/zero', os.O_RDONLY), os.open('/dev/loop-control', os.O_RDWR), \
        os.open('/dev/loop2', os.O_RDWR), connection.fileno(): assert ioctl(BLKFLSBUF, descriptor) == 'EINVAL', descriptor
assert ioctl(BLKFLSBUF, 4711) == 'EBADF'
assert ioctl(BLKFLSBUF, other, device=1) == 'ok'
assert ioctl(BLKFLSBUF, own, device=2) == 'ENXIO' and ioctl(BLKFLSBUF, own, device=4000) == 'ENXIO'
for wrong in [], size[:3], size + [0], size * 1000: assert ioctl(BLKBSZSET, own, bytes=wrong) == 'EINVAL', wrong
assert ioctl(BLKFLSBUF, own, bytes=size) == 'EINVAL'
assert ioctl(BLKRASET, own, value=(1 << 18) + 1) == 'EINVAL'
for wrong in 'text', [256, 0, 0, 0], [-1, 0, 0, 0], ['a']: assert ioctl(BLKBSZSET, own, bytes=wrong) == 'parameter', wrong
P

cat >in.sh <<'IN'
set -eu
cd "$1"
truncate -s 320M a.img
losetup -P /dev/loop0 a.img
python3 ../calls.py /dev/loop0
truncate -s 1M b.img
losetup /dev/loop1 b.img
python3 -c 'import fcntl, os; fcntl.ioctl(os.open("/dev/loop-control", os.O_RDWR), 0x4C80, 2)'
python3 ../asked.py "$SOCKET"
losetup -d /dev/loop1
printf 'label: gpt\nsize=8M\n' | sfdisk -q /dev/loop0
python3 - <<'P'
import fcntl, os, struct
part = os.open('/dev/loop0p1', os.O_RDWR | os.O_EXCL)
fcntl.ioctl(part, 0x40081271, struct.pack('q', 1024)), fcntl.ioctl(part, 0x1261, 0)
P
wipefs -qa /dev/loop0
mkfs.xfs -q /dev/loop0
xfs_repair -n /dev/loop0 >/dev/null 2>&1
losetup -d /dev/loop0
# An exclusive descriptor of a free device keeps its claim when it binds that.
python3 - <<'P'
import errno, fcntl, os, struct
fd = os.open('/dev/loop0', os.O_RDWR | os.O_EXCL)
fcntl.ioctl(fd, 0x4C0A, struct.pack('II', os.open('a.img', os.O_RDWR), 512) + bytes(296))
try: os.open('/dev/loop0', os.O_RDWR | os.O_EXCL)
except OSError as failure: assert failure.errno == errno.EBUSY
else: raise SystemExit('two claims')
P
IN
run_as() { # USER
  local folder=$PWD/$1
  install -d -o "$1" "$folder"
  timeout --kill-after=5 120 setpriv --reuid="$1" --regid="$(id -g "$1")" --clear-groups env HOME="$folder" SOCKET="$SOCKET" \
    "$LOOPFS" run --engine kernel --socket "$SOCKET" -- bash "$PWD/in.sh" "$folder"
}
chmod 0755 .
start_daemon 234000
run_as root
run_as nobody
