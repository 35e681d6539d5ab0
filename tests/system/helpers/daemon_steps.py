#!/usr/bin/env python3
"""The server of loopfsd is killed before every system call that an operation has it do, one kill a try, and the keeper's
next server has to go on.

daemon_steps.py SOCKET PID_FILE PROGRAMS FOLDER [OPERATION...]: as root, in a mount namespace of its own.

A tracer counts the system calls of all threads of the server that can change something (not what is read in /proc,
/sys and /etc), and kills it before the Nth, for N = 1, 2, 3, ... until the operation passes. Prints a table of the outcomes.
"""
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

LOOP_SET_FD, LOOP_CLR_FD, LOOP_GET_STATUS64, LOOP_CONFIGURE = 0x4C00, 0x4C01, 0x4C05, 0x4C0A
LOOP_CTL_ADD, LOOP_CTL_REMOVE, LOOP_CTL_GET_FREE = 0x4C80, 0x4C81, 0x4C82
BLKGETSIZE64 = 0x80081272
FIRST = int(os.environ.get("FIRST_DEVICE", "500000"))
SIZE = 8 << 20
MOST_SPARES = 16
libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    pass


def check(call, *args):
    result = call(*args)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


# --- Varlink ---


def ask(path, method, **parameters):
    """The answer's parameters and descriptors."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(30)
        channel.connect(path)
        channel.sendall(json.dumps({"method": "io.loopfs.Manager." + method, "parameters": parameters}).encode() + b"\0")
        text, descriptors = b"", []
        while not text.endswith(b"\0"):
            more, fds, _, _ = socket.recv_fds(channel, 65536, 4)
            descriptors += fds
            if not more:
                raise OSError(errno.ECONNRESET, "the connection is closed")
            text += more
    answer = json.loads(text[:-1])
    if "error" in answer:
        parameters = answer.get("parameters", {})
        raise OSError(parameters.get("errno", errno.EPROTO), f"{answer['error']} {parameters}")
    return answer["parameters"], descriptors


# --- Inside a container: operations by name, answers on standard output ---


class Agent:
    def __init__(self, programs, path, folder):
        self.programs, self.socket, self.folder = programs, path, folder
        self.instance, self.second, self.files = f"{folder}/instance", f"{folder}/second", f"{folder}/files"
        self.kept = {}

    def node(self, number):
        return f"{self.instance}/loop{number}"

    def configure(self, fd, image, flags=0):
        with open(image, "r+b") as file:
            fcntl.ioctl(fd, LOOP_CONFIGURE, struct.pack("II", file.fileno(), 0) + bytes(52) +
                        struct.pack("I", flags) + bytes(304 - 64))

    def mount(self, where):
        done = subprocess.run([f"{self.programs}/mount.loopfs", "none", where, "-o", f"max=8,socket={self.socket}"],
                              stderr=subprocess.PIPE, text=True)
        if done.returncode:
            text = done.stderr.strip()
            code = next((code for code in errno.errorcode if text.endswith(os.strerror(code))), errno.EIO)
            raise OSError(code, text)

    def do_mount(self):
        self.mount(self.instance)

    def do_mount_second(self):
        self.mount(self.second)
        return sorted(os.listdir(self.second))

    def do_umount_second(self):
        check(libc.umount2, self.second.encode(), 2)

    def do_add_second(self, image):
        control = os.open(f"{self.second}/loop-control", os.O_RDWR)
        number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
        os.close(control)
        fd = os.open(f"{self.second}/loop{number}", os.O_RDWR)
        self.configure(fd, image)
        os.close(fd)

    def do_list(self):
        return sorted(os.listdir(self.instance))

    def do_list_slowly(self):
        """As a program that is interrupted between opendir(3) and readdir(3)."""
        names = []
        with os.scandir(self.instance) as entries:
            for entry in entries:
                names.append(entry.name)
        return sorted(names)

    def do_add(self, number):
        with open(f"{self.instance}/loop-control", "rb") as control:
            return fcntl.ioctl(control, LOOP_CTL_ADD, number)

    def do_remove(self, number):
        with open(f"{self.instance}/loop-control", "rb") as control:
            return fcntl.ioctl(control, LOOP_CTL_REMOVE, number)

    def do_get_free(self):
        with open(f"{self.instance}/loop-control", "rb") as control:
            return fcntl.ioctl(control, LOOP_CTL_GET_FREE)

    def do_unlink(self, number):
        os.unlink(self.node(number))

    def do_bind(self, number, image, flags=0):
        fd = os.open(self.node(number), os.O_RDWR)
        try:
            self.configure(fd, image, flags)
        finally:
            os.close(fd)

    def do_bind_kept(self, name, image, flags=0):
        self.configure(self.kept[name], image, flags)

    def do_open(self, name, number, flags=os.O_RDWR):
        self.kept[name] = os.open(self.node(number), flags)

    def do_close(self, name):
        os.close(self.kept.pop(name))

    def do_clear_kept(self, name):
        fcntl.ioctl(self.kept[name], LOOP_CLR_FD)

    def do_detach(self, number):
        fd = os.open(self.node(number), os.O_RDWR)
        try:
            fcntl.ioctl(fd, LOOP_CLR_FD)
        finally:
            os.close(fd)

    def do_write_kept(self, name, offset, letter, length):
        assert os.pwrite(self.kept[name], letter.encode() * length, offset) == length
        os.fsync(self.kept[name])

    def do_read_kept(self, name, offset, length):
        return self.letters(os.pread(self.kept[name], length, offset))

    def do_read(self, number, offset, length):
        fd = os.open(self.node(number), os.O_RDONLY)
        try:
            data = os.pread(fd, length, offset)
            if len(data) == length:
                return self.letters(data)
            seen = os.fstat(fd)
            return f"{self.letters(data)}, of mode {seen.st_mode:o}, device {seen.st_rdev:#x}, size {os.lseek(fd, 0, 2)}"
        finally:
            os.close(fd)

    def do_size(self, number):
        fd = os.open(self.node(number), os.O_RDONLY)
        try:
            return struct.unpack("Q", fcntl.ioctl(fd, BLKGETSIZE64, bytes(8)))[0]
        finally:
            os.close(fd)

    def do_status(self, number):
        fd = os.open(self.node(number), os.O_RDONLY)
        try:
            fcntl.ioctl(fd, LOOP_GET_STATUS64, bytes(232))
        finally:
            os.close(fd)

    def do_mount_filesystem(self, instance, number):
        answer, fds = ask(self.socket, "MountFilesystem", instance=instance, device=number, partition=0, type="ext4",
                          options="", attributes=0)
        assert answer["mounted"] and len(fds) == 1, answer
        check(libc.syscall, 429, fds[0], b"", -100, self.files.encode(), 4)  # move_mount
        os.close(fds[0])
        with open(f"{self.files}/word") as file:
            return file.read()

    def do_umount_filesystem(self):
        check(libc.umount2, self.files.encode(), 0)

    @staticmethod
    def letters(data):
        """The length and the different bytes: enough to tell what it is."""
        return f"{len(data)} {''.join(sorted(set(data.decode('latin-1'))))!r}"

    def serve(self):
        check(libc.mount, b"none", self.folder.encode(), b"tmpfs", 0, b"mode=0755")
        for path in (self.instance, self.second, self.files):
            os.mkdir(path)
        print("{}", flush=True)
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            try:
                answer = {"result": getattr(self, "do_" + name)(*arguments)}
            except OSError as error:
                answer = {"errno": errno.errorcode.get(error.errno, str(error.errno)), "text": str(error)}
            print(json.dumps(answer), flush=True)


class Container:
    """An agent in a mount namespace, and as those of rootless containers are, a user namespace of its own."""

    def __init__(self, programs, path, folder):
        os.mkdir(folder)
        self.process = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", "--propagation", "private", sys.executable, __file__,
             "--agent", programs, path, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.answer(30)

    def send(self, name, *arguments):
        self.process.stdin.write(json.dumps([name, *arguments]) + "\n")

    def answered(self, seconds):
        return bool(select.select([self.process.stdout], [], [], seconds)[0])

    def answer(self, seconds=30):
        if not self.answered(seconds):
            raise Failure(f"no answer in {seconds} s: {self.where_it_hangs()}")
        return json.loads(self.process.stdout.readline())

    def where_it_hangs(self):
        try:
            return open(f"/proc/{self.process.pid}/stack").read()
        except OSError as error:
            return str(error)

    def do(self, name, *arguments):
        """What must work."""
        self.send(name, *arguments)
        answer = self.answer()
        if "errno" in answer:
            raise Failure(f"{name} {arguments}: {answer['errno']} {answer['text']}")
        return answer.get("result")

    def try_to(self, name, *arguments):
        self.send(name, *arguments)
        return self.answer()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


# --- The tracer ---

PTRACE_CONT, PTRACE_SYSCALL, PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_GET_SYSCALL_INFO = 7, 24, 0x4206, 0x4207, 0x420E
PTRACE_O_TRACESYSGOOD, PTRACE_O_TRACEFORK, PTRACE_O_TRACEVFORK, PTRACE_O_TRACECLONE = 1, 2, 4, 8
WALL = 0x40000000

COUNTED = {0: "read", 1: "write", 3: "close", 16: "ioctl", 17: "pread64", 18: "pwrite64", 20: "writev", 32: "dup",
           40: "sendfile", 44: "sendto", 45: "recvfrom", 46: "sendmsg", 47: "recvmsg", 61: "wait4", 74: "fsync", 75: "fdatasync",
           101: "ptrace",
           165: "mount", 166: "umount2", 257: "openat", 285: "fallocate", 288: "accept4",
           310: "process_vm_readv", 311: "process_vm_writev", 428: "open_tree", 429: "move_mount", 430: "fsopen",
           431: "fsconfig", 432: "fsmount", 438: "pidfd_getfd", 442: "mount_setattr"}
NR_OPENAT = 257
ONLY_READ = ("/proc", "/sys", "/etc", "/lib", "/usr")
OF_A_DESCRIPTOR = (0, 1, 3, 17)


def ptrace(request, pid, address=0, data=0):
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, pid, address, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request}")


class Tracer:
    def __init__(self, pid):
        self.pid, self.kill_at, self.count, self.killed = pid, 0, 0, None
        self.begun = True
        self.info = ctypes.create_string_buffer(88)
        self.uninteresting = set()  # descriptors of what is only read
        self.opening = {}           # by thread: whether what it opens is such
        self.threads = set()
        while True:
            found = {int(name) for name in os.listdir(f"/proc/{pid}/task")} - self.threads
            if not found:
                break
            for tid in found:
                self.threads.add(tid)
                try:
                    ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE)
                    ptrace(PTRACE_INTERRUPT, tid)
                except OSError:
                    pass  # has ended, or was traced from its birth
        for tid in self.threads:  # none is to do anything unseen
            try:
                os.waitpid(tid, WALL)
                ptrace(PTRACE_SYSCALL, tid)
            except (ChildProcessError, OSError):
                pass
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                if os.readlink(f"/proc/{pid}/fd/{name}").startswith(ONLY_READ):
                    self.uninteresting.add(int(name))
            except OSError:
                pass

    def text_at(self, tid, address):
        with open(f"/proc/{tid}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            return memory.read(256).split(b"\0")[0].decode()

    def path_of(self, fd):
        try:
            return os.readlink(f"/proc/{self.pid}/fd/{fd}")
        except OSError:
            return "?"

    def entered(self, tid, number, arguments):
        """What is counted of a system call; None: nothing."""
        name = COUNTED.get(number)
        if name is None:
            return None
        if number == NR_OPENAT:
            path = self.text_at(tid, arguments[1])
            self.opening[tid] = path.startswith(ONLY_READ)
            return None if self.opening[tid] else f"openat {path}"
        if number in OF_A_DESCRIPTOR:
            if arguments[0] in self.uninteresting:
                if number == 3:
                    self.uninteresting.discard(arguments[0])
                return None
            path = self.path_of(arguments[0])
            if path.startswith(ONLY_READ):  # came from the keeper
                return None
            return f"{name} {path.split(':')[0]}"
        return f"{name} {arguments[1]:#x}" if name == "ioctl" else name

    def syscall_stop(self, tid):
        ptrace(PTRACE_GET_SYSCALL_INFO, tid, len(self.info), ctypes.addressof(self.info))
        kind = self.info.raw[0]
        if kind == 1:
            number, *arguments = struct.unpack_from("7Q", self.info.raw, 24)
            what = self.entered(tid, number, arguments)
            self.begun = self.begun or COUNTED.get(number) == "sendmsg"
            if what and self.begun:
                self.count += 1
                if self.count == self.kill_at:
                    self.killed = what
        elif kind == 2 and self.opening.pop(tid, False):
            result = struct.unpack_from("q", self.info.raw, 24)[0]
            if result >= 0:
                self.uninteresting.add(result)

    @classmethod
    def of_next_server(cls, keeper):
        """Of the one that the keeper starts next; counts from its first word with the keeper on."""
        trace = cls.__new__(cls)
        trace.pid, trace.kill_at, trace.count, trace.killed = None, 0, 0, None
        trace.begun = False
        trace.info = ctypes.create_string_buffer(88)
        trace.uninteresting, trace.opening = set(), {}
        trace.threads = {int(name) for name in os.listdir(f"/proc/{keeper}/task")}
        for tid in trace.threads:
            ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                   PTRACE_O_TRACECLONE)
        return trace

    def is_of_server(self, keeper, tid):
        if self.pid is None and tid not in self.threads and not os.path.exists(f"/proc/{keeper}/task/{tid}"):
            self.pid = tid
        return self.pid is not None and os.path.exists(f"/proc/{self.pid}/task/{tid}")

    def run(self, keeper, done, quiet):
        """Until done() and then `quiet` seconds without anything to count, or the end of the server."""
        seen, last = 0, time.monotonic()
        while True:
            try:
                tid, status = os.waitpid(-1, WALL | os.WNOHANG)
            except ChildProcessError:
                return
            if tid == 0:
                if self.count != seen or not done():
                    seen, last = self.count, time.monotonic()
                elif time.monotonic() - last > quiet:
                    return  # the tracer's end detaches
                time.sleep(0.0002)
                continue
            if not os.WIFSTOPPED(status):
                if tid == self.pid:
                    return
                continue
            kind, event = os.WSTOPSIG(status), status >> 16
            try:
                if not self.is_of_server(keeper, tid):
                    ptrace(PTRACE_CONT, tid, 0, 0 if event else kind)
                    continue
                if kind == signal.SIGTRAP | 0x80 and not self.killed:
                    self.syscall_stop(tid)
                    if self.killed:
                        os.kill(self.pid, signal.SIGKILL)
                        os.kill(keeper, signal.SIGHUP)  # no pause, however often in a row
                        continue
                ptrace(PTRACE_SYSCALL, tid, 0, 0 if event or kind & 0x80 else kind)
            except OSError as error:
                if error.errno != errno.ESRCH:
                    raise


# --- The driver ---


class Driver:
    def __init__(self, path, pid_file, programs, folder):
        self.socket, self.folder = path, folder
        self.keeper = int(open(pid_file).read())
        self.table = []
        self.images = {}
        for letter in "ABCD":
            self.images[letter] = f"{folder}/{letter}.img"
            with open(self.images[letter], "wb") as file:
                file.write(letter.encode() * SIZE)
        self.container = {name: Container(programs, path, f"{folder}/{name}") for name in ("one", "two")}
        for container in self.container.values():
            container.do("mount")
        self.one, self.two = self.container["one"], self.container["two"]
        self.two.do("add", 0)
        self.two.do("bind", 0, self.images["B"])
        self.one.do("add", 0)
        self.ids = sorted(instance["id"] for instance in self.listed())
        if len(self.ids) != 2:
            raise Failure(f"instances {self.ids}")

    def server(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            children = open(f"/proc/{self.keeper}/task/{self.keeper}/children").read().split()
            if children:
                return int(children[0])
            time.sleep(0.002)
        raise Failure("no server")

    def listed(self):
        for tries in range(3):
            try:
                answer, _ = ask(self.socket, "List")
                return answer["instances"]
            except OSError as error:
                if error.errno not in (errno.ECONNRESET, errno.EPIPE):
                    raise
        raise Failure("List: the connection is closed again and again")

    def kernel_devices(self):
        """The bound ones and the others."""
        bound, free = set(), set()
        for name in os.listdir("/sys/block"):
            if name.startswith("loop") and FIRST <= int(name[4:]) < FIRST + 10000:
                (bound if os.path.exists(f"/sys/block/{name}/loop/autoclear") else free).add(name)
        return bound, free

    def holders(self):
        """Who has one of the kernel devices open."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                for fd in os.listdir(f"/proc/{pid}/fd"):
                    path = os.readlink(f"/proc/{pid}/fd/{fd}")
                    if any(path.endswith(f"/{name}") for name in self.kernel_devices()[0]):
                        found.append((int(pid), open(f"/proc/{pid}/comm").read().strip(), path))
            except OSError:
                pass
        return f"open: {found}, keeper {self.keeper}"

    def invariants(self):
        deadline = time.monotonic() + 20
        while True:
            known = [device["kernel_device"] for instance in self.listed() for device in instance["devices"]
                     if device.get("kernel_device")]
            bound, free = self.kernel_devices()
            if len(set(known)) != len(known):
                raise Failure(f"a kernel device of two: {known}")
            if not bound - set(known):
                break
            if time.monotonic() > deadline:
                raise Failure(f"kernel devices that nobody knows: {bound - set(known)}, known: {known}")
            time.sleep(0.02)
        if len(free) > MOST_SPARES:
            raise Failure(f"{len(free)} unbound kernel devices")
        lost = set(self.ids) - {instance["id"] for instance in self.listed()}
        if lost:
            raise Failure(f"instances lost: {lost}")
        if "loop0" not in self.one.do("list") or "loop0" not in self.two.do("list"):
            raise Failure("a device is lost")
        if (seen := self.two.do("read", 0, 0, 65536)) != "65536 'B'":
            raise Failure(f"the other container's device: {seen}, then {self.two.do('read', 0, 0, 65536)}; {self.listed()}")

    def end_of_second(self):
        deadline = time.monotonic() + 20
        while {instance["id"] for instance in self.listed()} != set(self.ids):
            if time.monotonic() > deadline:
                raise Failure(f"instances {[instance['id'] for instance in self.listed()]}")
            time.sleep(0.02)

    def killed_at(self, count, operation, takeover=False):
        """(what the server was about to do or None, the client's answer); takeover: the next server, this one dies first."""
        server = self.server()
        read, write = os.pipe()
        tracer = os.fork()
        if tracer == 0:
            # A process of its own: its end detaches what is traced, and its children are nobody else's.
            try:
                if takeover:
                    trace = Tracer.of_next_server(self.keeper)
                else:
                    trace = Tracer(server)
                    trace.run(self.keeper, lambda: True, 0.02)  # what is left to do of earlier requests
                    trace.count = 0
                trace.kill_at = count
                os.write(write, b"+")
                trace.run(self.keeper, lambda: bool(select.select([self.done_pipe[0]], [], [], 0)[0]), 0.5 if takeover else 0.1)
                os.write(write, (trace.killed or "").encode() + b"\n")
                os._exit(0)
            except BaseException as error:  # pylint: disable=broad-except
                sys.stderr.write(f"tracer: {error!r}\n")
                os._exit(1)
        os.close(write)
        if os.read(read, 1) != b"+":
            raise Failure("the tracer failed")
        if takeover:
            os.kill(server, signal.SIGKILL)
            os.kill(self.keeper, signal.SIGHUP)
        answer = self.one.try_to(*operation)
        os.write(self.done_pipe[1], b".")
        killed = b""
        while more := os.read(read, 4096):
            killed += more
        os.close(read)
        os.waitpid(tracer, 0)
        os.read(self.done_pipe[0], 1)
        return killed.decode().strip() or None, answer

    def steps(self, name, operation, prepare, verify, restore, takeover=False):
        self.done_pipe = os.pipe()
        rows, count, passes = [], 0, 0
        while passes < (3 if takeover else 2):  # how much there is to do differs a little
            count += 1
            if count > 400:
                raise Failure(f"{name}: no end")
            step = "preparing"
            try:
                prepare()
                step = "?"
                killed, answer = self.killed_at(count, operation, takeover)
                step = killed
                outcome = "completed"
                if "errno" in answer:
                    outcome = f"{answer['errno']}, done when repeated"
                    if not killed:
                        raise Failure(f"without a kill: {answer}")
                    for tries in range(3):
                        second = self.one.try_to(*operation)
                        if "errno" not in second:
                            break
                    else:
                        raise Failure(f"{answer}, repeated: {second}")
                verify()
                self.invariants()
                restore()
                self.invariants()
            except Failure as failure:
                print(f"{name}: killed at {count}, before {step}: {failure}", flush=True)
                raise
            if killed:
                rows.append((count, killed, outcome))
            else:
                passes += 1
        for row in rows:
            self.table.append((name, *row))
        outcomes = sorted({outcome for _, _, outcome in rows})
        print(f"{name}: {len(rows)} kills: " +
              "; ".join(f"{outcome}: {sum(1 for row in rows if row[2] == outcome)}" for outcome in outcomes), flush=True)
        for end in self.done_pipe:
            os.close(end)

    # The operations, by name.

    def nothing(self):
        pass

    def see(self, letter, number=0):
        if (seen := self.one.do("read", number, 0, 65536)) != f"65536 '{letter}'":
            raise Failure(f"the device shows {seen}, not {letter}")

    def until_free(self, number=0):
        """Unbinding is at the last close, which may be one of the server's; after LOOP_CLR_FD, ENXIO until then."""
        deadline = time.monotonic() + 20
        while (answer := self.one.try_to("size", number)).get("result") != 0:
            if answer.get("errno", "ENXIO") != "ENXIO":
                raise Failure(f"open loop{number}: {answer}")
            if time.monotonic() > deadline:
                raise Failure(f"loop{number} does not become free: {answer}, {self.listed()}, {self.holders()}")
            time.sleep(0.005)

    def detach(self, number=0):
        self.one.do("detach", number)
        self.until_free(number)

    def run_bind(self):
        self.steps("bind", ("bind", 0, self.images["A"]), self.nothing, lambda: self.see("A"), self.detach)

    def run_bind_autoclear(self):
        def restore():
            self.one.do("close", "fd")
            self.until_free()

        def verify():
            if (seen := self.one.do("read_kept", "fd", 4096, 4096)) != "4096 'C'":
                raise Failure(f"the kept descriptor shows {seen}")

        self.steps("bind autoclear, by a descriptor that stays", ("bind_kept", "fd", self.images["C"], 4),
                   lambda: self.one.do("open", "fd", 0), verify, restore)

    def run_clear(self):
        def prepare():
            self.one.do("open", "fd", 0)
            self.one.do("bind_kept", "fd", self.images["A"])

        def restore():
            self.one.do("close", "fd")
            self.until_free()

        self.steps("clear, by a descriptor from before", ("clear_kept", "fd"), prepare, self.nothing, restore)

    def run_detach(self):
        self.steps("detach", ("detach", 0), lambda: self.one.do("bind", 0, self.images["A"]), self.until_free,
                   self.nothing)

    def run_close(self):
        def prepare():
            self.one.do("open", "fd", 0)
            self.one.do("bind_kept", "fd", self.images["A"], 4)

        self.steps("last close of an autoclear device", ("close", "fd"), prepare, self.until_free, self.nothing)

    def run_open(self):
        def restore():
            self.one.do("close", "fd")
            self.detach()

        self.steps("open of a bound device", ("open", "fd", 0), lambda: self.one.do("bind", 0, self.images["A"]),
                   lambda: self.see("A"), restore)

    def run_write(self):
        def prepare():
            self.one.do("open", "fd", 0)
            self.one.do("bind_kept", "fd", self.images["D"], 4)

        def verify():
            if (seen := self.one.do("read_kept", "fd", 8192, 8192)) != "8192 'x'":
                raise Failure(f"written, and read {seen}")

        def restore():
            self.one.do("write_kept", "fd", 8192, "D", 8192)
            self.one.do("close", "fd")
            self.until_free()

        self.steps("write, by a descriptor from before", ("write_kept", "fd", 8192, "x", 8192), prepare, verify, restore)

    def run_list(self):
        self.steps("ls", ("list_slowly",), self.nothing, self.nothing, self.nothing)

    def run_add(self):
        def verify():
            if "loop5" not in self.one.do("list"):
                raise Failure("no loop5")

        self.steps("LOOP_CTL_ADD", ("add", 5), self.nothing, verify, lambda: self.one.do("remove", 5))

    def run_remove(self):
        def verify():
            if "loop5" in self.one.do("list"):
                raise Failure("loop5 is still there")

        self.steps("LOOP_CTL_REMOVE", ("remove", 5), lambda: self.one.do("add", 5), verify, self.nothing)

    def run_unlink(self):
        def verify():
            if "loop5" in self.one.do("list"):
                raise Failure("loop5 is still there")

        self.steps("unlink", ("unlink", 5), lambda: self.one.do("add", 5), verify, self.nothing)

    def run_mount(self):
        def restore():
            self.one.do("umount_second")
            self.end_of_second()

        self.steps("mount of an instance", ("mount_second",), self.nothing, self.nothing, restore)

    def run_umount(self):
        def prepare():
            self.one.do("mount_second")
            self.one.do("add_second", self.images["A"])

        self.steps("umount of an instance with a device", ("umount_second",), prepare, self.end_of_second, self.nothing)

    def run_filesystem(self):
        image = f"{self.folder}/fs.img"
        content = f"{self.folder}/content"
        os.mkdir(content)
        with open(f"{content}/word", "w") as file:
            file.write("kept")
        with open(image, "wb") as file:
            file.truncate(SIZE)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", content, image], check=True)
        self.one.do("bind", 0, image)
        own = next(instance["id"] for instance in self.listed()
                   if any(device.get("backing_file") == image for device in instance["devices"]))
        self.steps("mount of ext4", ("mount_filesystem", own, 0), self.nothing, self.nothing,
                   lambda: self.one.do("umount_filesystem"))
        self.detach()

    def run_takeover(self):
        self.one.do("add", 1)
        self.one.do("bind", 0, self.images["A"])
        self.one.do("open", "fd", 1)
        self.one.do("bind_kept", "fd", self.images["C"], 4)

        def verify():
            self.see("A")
            self.see("C", 1)

        self.steps("takeover", ("read_kept", "fd", 4096, 4096), self.nothing, verify, self.nothing, takeover=True)
        self.one.do("close", "fd")
        self.until_free(1)
        self.detach()
        self.one.do("remove", 1)

    def run_takeover_umount(self):
        def prepare():
            self.one.do("mount_second")
            self.one.do("add_second", self.images["A"])

        self.steps("takeover of an instance that has just ended", ("umount_second",), prepare, self.end_of_second,
                   self.nothing, takeover=True)

    ALL = ("list", "add", "remove", "unlink", "bind", "bind_autoclear", "open", "write", "clear", "close", "detach",
           "filesystem", "mount", "umount", "takeover", "takeover_umount")

    def run(self, names):
        try:
            for name in names or self.ALL:
                getattr(self, "run_" + name)()
            for container in self.container.values():
                container.end()
            deadline = time.monotonic() + 20
            while self.listed() or any(self.kernel_devices()):
                if time.monotonic() > deadline:
                    raise Failure(f"after the end: {self.listed()}, {self.kernel_devices()}")
                time.sleep(0.05)
            for letter in "ABCD":
                with open(self.images[letter], "rb") as file:
                    if set(file.read()) != {ord(letter)}:
                        raise Failure(f"the content of {letter}.img has changed")
        finally:
            self.print_table()

    def print_table(self):
        """Runs of the same outcome of the same system call are one line."""
        print("\noperation | kill before | steps | outcome")
        lines = []
        for name, count, killed, outcome in self.table:
            if lines and lines[-1][0] == name and lines[-1][3] == outcome and lines[-1][1] == killed:
                lines[-1][2].append(count)
            else:
                lines.append((name, killed, [count], outcome))
        for name, killed, counts, outcome in lines:
            which = str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"
            print(f"{name} | {killed} | {which} | {outcome}")
        sys.stdout.flush()


def main():
    if sys.argv[1] == "--agent":
        return Agent(*sys.argv[2:5]).serve()
    if sys.argv[1] == "--ask":
        print(json.dumps(ask(sys.argv[2], sys.argv[3])[0]))
        return None
    driver = Driver(*sys.argv[1:5])
    try:
        driver.run(sys.argv[5:])
    except Failure as failure:
        print(f"FAILED: {failure}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
