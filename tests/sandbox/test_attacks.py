"""
Attacks on the sandbox, as root and as an ordinary user, with and without bubblewrap.

Each attempt is one program. It says LEAKED if it got through and HELD with the error if it was refused, so an attempt
that breaks for another reason shows as neither. After each test, the `host` fixture checks that the sandbox still
answers, that no process is left, and that the home with the secret is as it was.
"""

from __future__ import annotations

import textwrap

import pytest

from pytest_r1eval.sandbox.programs import Ending
from tests.sandbox.hosts import EXPECTED, WAYS, Host, Way, comes_true_within, host_of

MIB = 1 << 20

PREAMBLE = """
import ctypes, fcntl, json, mmap, os, resource, signal, socket, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
N = json.loads(P["numbers"])
SERVER = os.getppid()
def call(name, *arguments):
    result = libc.syscall(name if isinstance(name, int) else N[name], *arguments)
    if result == -1:
        raise OSError(ctypes.get_errno(), name)
    return result
def checked(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")
def nothing_in(found):
    if not found:
        raise OSError("nothing there")
def readable(paths):
    for path in paths:
        try:
            with open(path, "rb") as file:
                if file.read(1):
                    return path
        except OSError:
            pass
"""

FILES = {
    "the secret in the home": "open(P['secret']).read()",
    "an open file in the home": "open(P['home'] + '/open.txt').read()",
    "the home's list": "os.listdir(P['home'])",
    "root's home": "os.listdir('/root')",
    "every home": "nothing_in([readable([f'/home/{n}/.bashrc']) for n in os.listdir('/home')])",
    "the password file": "open('/etc/passwd').read()",
    "the shadow file": "open('/etc/shadow').read()",
    "by a path through /proc/self/root": "open('/proc/self/root' + P['secret']).read()",
    "by a path through the fork server": "open(f'/proc/{SERVER}/root' + P['secret']).read()",
    "by a path through process 1": "open('/proc/1/root' + P['secret']).read()",
    "by a way up": "open('../' * 40 + P['secret'].lstrip('/')).read()",
    "by an O_PATH descriptor": "os.open('secret.txt', os.O_RDONLY, dir_fd=os.open(P['home'], os.O_PATH))",
    "by openat2": "call('openat2', -100, P['secret'].encode(), struct.pack('QQQ', 0, 0, 0), 24)",
    "by a file handle": "call('open_by_handle_at', -100, struct.pack('Ii8x', 8, 1), 0)",
    "by a mapping of a device": "os.open('/dev/mem', os.O_RDONLY)",
    "a disk": "nothing_in(readable('/dev/' + n for n in os.listdir('/dev') if n not in "
    "('zero', 'random', 'urandom', 'full', 'null', 'fd', 'stdin', 'stdout', 'stderr')))",
    "the plugin's own files": "open(P['home'] + '/../pytest_r1eval/errors.py').read()",
    "news from the home": "checked(libc.inotify_add_watch(libc.inotify_init(), P['home'].encode(), 0xFFF))",
    "attributes of a file": "os.listxattr(P['home'] + '/open.txt')",
    "by an opening that neither reads nor writes": "os.open(P['home'] + '/open.txt', os.O_ACCMODE)",
    "a device, opened for ioctl alone": "os.open('/dev/ptmx', os.O_ACCMODE)",
    "news of a folder by a signal": "fcntl.fcntl(os.open(os.path.dirname(os.__file__), 0), fcntl.F_NOTIFY, 2)",
}
ENVIRONMENT = {
    "tokens": "nothing_in([n for n in os.environ if 'TOKEN' in n])",
    "anything of the parent's": "nothing_in(set(os.environ) & {'GITHUB_TOKEN', 'EXPECTED_OUTPUT', 'PYTHONPATH'})",
    "by the C library": "libc.getenv.restype = ctypes.c_char_p; nothing_in(libc.getenv(b'HF_TOKEN'))",
    "its own in /proc": "open('/proc/self/environ').read()",
    "the host's": "open(f'/proc/{P[\"pid\"]}/environ').read()",
    "the fork server's": "open(f'/proc/{SERVER}/environ').read()",
    "anybody's": "nothing_in(readable(f'/proc/{n}/environ' for n in range(1, 4000)))",
    "anybody's command line": "nothing_in(readable(f'/proc/{n}/cmdline' for n in range(1, 4000)))",
    "anybody's memory": "nothing_in(readable(f'/proc/{n}/mem' for n in (1, SERVER, P['pid'])))",
    "anybody's descriptors": "nothing_in([os.listdir(f'/proc/{n}/fd') for n in (SERVER, P['pid'])])",
    "a descriptor that was left open": "nothing_in([n for n in range(3, 1000) if not libc.fcntl(n, 1) == -1])",
}
SOCKETS = {
    "TCP": "socket.create_connection(('127.0.0.1', P['port']), timeout=2)",
    "TCP by number": "call('socket', 2, 1, 0)",
    "TCP over IPv6": "socket.socket(socket.AF_INET6)",
    "a listening socket": "socket.create_server(('127.0.0.1', 0))",
    "UDP": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', P['port']))",
    "an abstract socket": "socket.socket(socket.AF_UNIX).connect(P['abstract'])",
    "a path socket": "socket.socket(socket.AF_UNIX).connect(P['home'] + '/socket')",
    "a datagram pair, sent elsewhere": "socket.socketpair(type=socket.SOCK_DGRAM)[0].sendto(b'x', P['abstract'])",
    "a stream pair, connected elsewhere": "socket.socketpair()[0].connect(P['abstract'])",
    "a stream pair, sent elsewhere": "socket.socketpair()[0].sendto(b'x', P['abstract'])",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "raw packets": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "a virtual machine's host": "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
    "a name": "socket.getaddrinfo('localhost.localdomain', 80)",
    "a network card's name": "fcntl.ioctl(socket.socketpair()[0], 0x8910, struct.pack('16si20x', b'', 1))",
    "all network cards": "fcntl.ioctl(socket.socketpair()[0], 0x8912, struct.pack('iP', 0, 0))",
    "a network card's address": "fcntl.ioctl(socket.socketpair()[0], 0x8927, struct.pack('40s', b'lo'))",
    "a wireless card": "fcntl.ioctl(socket.socketpair()[0], 0x8B01, struct.pack('40s', b'wlan0'))",
    "io_uring": "call('io_uring_setup', 8, ctypes.create_string_buffer(200))",
}
WRITING = {
    "into the home": "open(P['home'] + '/written', 'w')",
    "over an open file": "open(P['home'] + '/open.txt', 'w')",
    "at the end of an open file": "open(P['home'] + '/open.txt', 'a')",
    "by emptying a file it may only read": "os.open(P['home'] + '/open.txt', os.O_RDONLY | os.O_TRUNC)",
    "by emptying a file it may neither read nor write": "os.open(P['home'] + '/open.txt', os.O_ACCMODE | os.O_TRUNC)",
    "by truncate": "os.truncate(P['home'] + '/open.txt', 0)",
    "by chmod": "os.chmod(P['secret'], 0o644)",
    "by chmod of a descriptor": "os.fchmod(os.open(P['secret'], os.O_PATH), 0o644)",
    "by fchmodat2": "call(452, -100, P['secret'].encode(), 0o644, 0)",
    "by chown": "os.chown(P['secret'], os.getuid(), os.getgid())",
    "by utime": "os.utime(P['secret'])",
    "by an attribute": "os.setxattr(P['home'] + '/open.txt', 'user.mark', b'x')",
    "by rename": "os.rename(P['home'] + '/open.txt', P['home'] + '/renamed.txt')",
    "by unlink": "os.unlink(P['home'] + '/open.txt')",
    "by a link": "os.link(P['secret'], P['home'] + '/link')",
    "by a symbolic link": "os.symlink(P['secret'], P['home'] + '/link')",
    "by a folder": "os.mkdir(P['home'] + '/folder')",
    "by a pipe with a name": "os.mkfifo(P['home'] + '/pipe')",
    "below /tmp": "open('/tmp/written', 'w')",
    "below /var/tmp": "open('/var/tmp/written', 'w')",
    "below /dev/shm": "open('/dev/shm/written', 'w')",
    "below /dev": "open('/dev/written', 'w')",
    "in the folder it starts in": "open('written', 'w')",
    "into the interpreter": "open(os.__file__, 'a')",
    "a file without a name": "os.open('/tmp', os.O_TMPFILE | os.O_RDWR)",
    "a temporary file": "__import__('tempfile').TemporaryFile()",
    "its own input": "os.write(0, b'x')",
    "its own input, opened again": "os.write(os.open('/proc/self/fd/0', os.O_RDWR), b'x')",
    "its own input, made longer": "os.ftruncate(os.open('/proc/self/fd/0', os.O_RDWR), 9)",
    "against whoever writes to a file it may read": "fcntl.fcntl(os.open(os.__file__, 0), fcntl.F_SETLEASE, 0)",
    "into the kernel's settings": "open('/proc/sys/kernel/core_pattern', 'w')",
}
OTHERS = {
    "kill the fork server": "os.kill(SERVER, signal.SIGKILL)",
    "ask whether the fork server is there": "os.kill(SERVER, 0)",
    "kill the host": "os.kill(P['pid'], signal.SIGKILL)",
    "kill process 1": "os.kill(1, signal.SIGTERM)",
    "kill everybody": "os.kill(-1, signal.SIGKILL)",
    "kill its group": "os.killpg(0, signal.SIGTERM)",
    "kill a thread of the fork server": "call('tkill', SERVER, 9)",
    "kill a thread of the fork server by tgkill": "call('tgkill', SERVER, SERVER, 9)",
    "queue a signal": "call('rt_sigqueueinfo', SERVER, 9, ctypes.create_string_buffer(128))",
    "signal by a pidfd": "signal.pidfd_send_signal(os.pidfd_open(SERVER), 9)",
    "signal by the owner of a descriptor": "fcntl.fcntl(os.pipe()[0], 8, SERVER)",
    "signal by the owner of a descriptor, extended": "fcntl.fcntl(os.pipe()[0], 15, struct.pack('ii', 1, SERVER))",
    "signal by an ioctl": "fcntl.ioctl(socket.socketpair()[0], 0x8901, struct.pack('i', SERVER))",
    "outlive the fork server": "checked(libc.prctl(1, 0, 0, 0, 0))",
    "be traced, and dumped by the crash handler": "checked(libc.prctl(4, 1, 0, 0, 0))",
    "signal by a timer": "checked(libc.timer_create(0, struct.pack('Qiii44x', 0, 9, 4, SERVER), bytes(8)))",
    "trace the fork server": "call('ptrace', 16, SERVER, 0, 0)",
    "seize the host": "call('ptrace', 0x4206, P['pid'], 0, 0)",
    "read the fork server's memory": "call('process_vm_readv', SERVER, None, 0, None, 0, 0)",
    "take a descriptor of the fork server": "call('pidfd_getfd', 0, 0, 0)",
    "limit the fork server": "resource.prlimit(SERVER, resource.RLIMIT_CPU, (1, 1))",
    "limit the host": "resource.prlimit(P['pid'], resource.RLIMIT_CPU, (1, 1))",
    "slow the fork server down": "os.setpriority(os.PRIO_PROCESS, SERVER, 19)",
    "slow everybody down": "os.setpriority(os.PRIO_USER, os.getuid(), 19)",
    "tie the fork server to a processor": "os.sched_setaffinity(SERVER, {0})",
    "idle the fork server": "os.sched_setscheduler(SERVER, os.SCHED_IDLE, os.sched_param(0))",
}
PROCESSES = {
    "fork": "os.fork() or os._exit(0)",
    "fork a terminal": "os.forkpty()[0] or os._exit(0)",
    "fork by number": "call('clone', 17, 0, 0, 0, 0) or os._exit(0)",
    "clone into a user namespace": "call('clone', 0x10000000 | 17, 0, 0, 0, 0) or os._exit(0)",
    "clone3": "call('clone3', ctypes.create_string_buffer(struct.pack('Q4xi', 0, 17) + bytes(80)), 88) or os._exit(0)",
    "a shell": "__import__('subprocess').run(['/bin/sh', '-c', 'true'])",
    "a spawned program": "os.posix_spawn('/bin/true', ['true'], {})",
    "exec": "os.execv(sys.executable, ['python', '-c', 'print(\"LEAKED\")'])",
    "exec of a memory file": "os.execve(os.memfd_create('program'), ['x'], {})",
    "a pool of processes": "__import__('multiprocessing').get_context('fork').Process(target=print).start()",
}
KERNEL = {
    "a user namespace": "checked(libc.unshare(0x10000000))",
    "a mount namespace": "checked(libc.unshare(0x00020000))",
    "another's namespace": "checked(libc.setns(0, 0))",
    "a mount": "checked(libc.mount(b'none', b'/tmp', b'tmpfs', 0, None))",
    "an unmount": "checked(libc.umount2(b'/usr', 2))",
    "a writable remount": "checked(libc.mount(None, b'/', None, 0x1020, None))",
    "a new root": "os.chroot('/tmp')",
    "a pivoted root": "call('pivot_root', b'/', b'/')",
    "a copied mount tree": "call('open_tree', -100, b'/', 1)",
    "a file system": "call('fsopen', b'tmpfs', 0)",
    "more memory": "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "more processor time": "resource.setrlimit(resource.RLIMIT_CPU, (10**6, 10**6))",
    "longer files": "resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))",
    "more descriptors": "resource.setrlimit(resource.RLIMIT_NOFILE, (10**5, 10**5))",
    "more processes": "resource.setrlimit(resource.RLIMIT_NPROC, (-1, -1))",
    "core files": "resource.setrlimit(resource.RLIMIT_CORE, (1, 1))",
    "a capability": "nothing_in(sum(struct.unpack('6I', (lambda d: (libc.capget(struct.pack('Ii', 0x20080522, 0), d), "
    "d.raw)[1])(ctypes.create_string_buffer(24)))))",
    "another user": "os.setresuid(1000, 1000, 1000)",
    "the superuser": "os.setuid(0)",
    "another group": "os.setgroups([0])",
    "a BPF program": "call('bpf', 0, ctypes.create_string_buffer(128), 128)",
    "performance counters": "call('perf_event_open', ctypes.create_string_buffer(128), 0, -1, -1, 0)",
    "faults in user space": "call('userfaultfd', 0)",
    "descriptors of its own for a thread": "call('close_range', 100, 200, 2)",
    "a larger send buffer": "socket.socketpair()[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)",
    "a larger receive buffer": "socket.socketpair()[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)",
    "a send buffer beyond the limit": "socket.socketpair()[0].setsockopt(socket.SOL_SOCKET, 32, 1 << 30)",
    "a receive buffer beyond the limit": "socket.socketpair()[0].setsockopt(socket.SOL_SOCKET, 33, 1 << 30)",
    "a key": "call('add_key', b'user', b'x', b'y', 1, -3)",
    "the keyring": "call('keyctl', 0, -3, 1)",
    "shared memory that stays": "call('shmget', 0, 4096, 0o1600)",
    "a message queue that stays": "call('msgget', 0, 0o1600)",
    "a POSIX message queue": "call('mq_open', b'left-behind', 0o102, 0o600, None)",
    "semaphores that stay": "call('semget', 0, 1, 0o1600)",
    "a memory file": "os.memfd_create('bomb')",
    "a secret memory file": "call('memfd_secret', 0)",
    "pages that a pipe keeps": "call('vmsplice', os.pipe()[1], struct.pack('PN', id(libc), 16), 1, 0)",
    "pages that two pipes keep": "call('tee', os.pipe()[0], os.pipe()[1], 16, 2)",
    "a file's pages that a pipe keeps": "call('splice', 0, None, os.pipe()[1], None, 16, 2)",
    "pages that one page keeps": "mmap.mmap(-1, 1 << 20)",
    "huge pages": "nothing_in(not libc.prctl(42, 0, 0, 0, 0)); checked(libc.prctl(41, 0, 0, 0, 0))",
    "rules that no limit counts": "call('landlock_create_ruleset', struct.pack('QQ', 0, 3), 16, 0)",
    "another personality": "checked(libc.personality(0x0040000))",
    "the clock": "time.clock_settime(time.CLOCK_REALTIME, 0)",
    "the kernel's log": "call('syslog', 3, ctypes.create_string_buffer(100), 100)",
    "a reboot": "call('reboot', 0xFEE1DEAD, 672274793, 0, 0)",
    "a system call newer than the filter": "call(470, 0, 0, 0, 0)",
    "the x32 numbers": "call(0x40000000 + 39)",
    "memory locked against the engine": "checked(libc.mlock(ctypes.create_string_buffer(1 << 20), 1 << 20))",
}
GROUPS = {
    "files": FILES,
    "environment": ENVIRONMENT,
    "sockets": SOCKETS,
    "writing": WRITING,
    "others": OTHERS,
    "processes": PROCESSES,
    "kernel": KERNEL,
}


def attempted(attempt: str) -> str:
    """Write the program that makes one attempt."""
    return PREAMBLE + textwrap.dedent(f"""
        try:
            {attempt}
        except (OSError, ValueError) as error:
            print("HELD", type(error).__name__, error)
        else:
            print("LEAKED")
        """)


@pytest.mark.parametrize("group", GROUPS)
def test_attempts_are_refused(host: Host, group: str) -> None:
    """A program can neither read, write, reach, signal nor start anything outside of its sandbox."""
    attempts = GROUPS[group]
    seen = host.run_together([attempted(attempt) for attempt in attempts.values()], wall_s=50)
    broken = {
        name: one
        for name, one in zip(attempts, seen, strict=True)
        if (one.stdout[:4], one.ending, one.exit_code) != ("HELD", Ending.EXITED, 0)
    }
    assert not broken


class TestBombs:
    """What a program uses up is its own."""

    @pytest.mark.parametrize(
        "source",
        [
            "x = bytearray(10**10)",
            "x = []\nwhile True: x.append(bytearray(10**7))",
            "import mmap\nx = []\nwhile True: x.append(mmap.mmap(-1, 1 << 28, flags=mmap.MAP_PRIVATE))",
        ],
    )
    def test_memory(self, host: Host, source: str) -> None:
        """Memory ends at the limit, by an error that the program sees."""
        seen = host.run(source, memory_bytes=512 * MIB)
        assert seen.ending is Ending.MEMORY_LIMIT or "Cannot allocate memory" in seen.stderr

    @pytest.mark.parametrize(
        "source",
        [
            "while True: print('x' * 10000)",
            "import sys\nwhile True: sys.stderr.write('x' * 10000)",
            "import os\nwhile True: os.write(1, b'x' * 10000)",
            "import os\nos.ftruncate(1, 1 << 40)",
            "import os, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nwhile True: os.write(1, b'x' * 65536)",
            "import os\nos.posix_fallocate(1, 0, 1 << 34)",
        ],
    )
    def test_output(self, host: Host, source: str) -> None:
        """A program's output ends at the limit, and no more is kept."""
        seen = host.run(source, output_bytes=MIB, cpu_s=5)
        assert seen.ending is Ending.OUTPUT_LIMIT
        assert seen.n_bytes_out <= MIB

    @pytest.mark.parametrize("stack_bytes", [0, 65536])
    def test_threads(self, host: Host, stack_bytes: int) -> None:
        """A program that starts threads without end is stopped or refused at the limit."""
        seen = host.run(
            f"import threading, time\nthreading.stack_size({stack_bytes})\n"
            "while True: threading.Thread(target=time.sleep, args=(60,)).start()",
            n_threads=32,
        )
        assert seen.ending is Ending.THREAD_LIMIT or "can't start new thread" in seen.stderr

    def test_threads_of_a_neighbour(self, host: Host) -> None:
        """A program that starts too many threads leaves its neighbour's threads alone."""
        bomb = "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()"
        calm = (
            "import threading, time\nend = time.monotonic() + 0.4\nn = 0\n"
            "while time.monotonic() < end:\n"
            "    threads = [threading.Thread(target=time.sleep, args=(0.001,)) for _ in range(8)]\n"
            "    [t.start() for t in threads]\n    [t.join() for t in threads]\nprint('calm')"
        )
        bombed, calmed = host.run_together([bomb, calm], n_threads=32)
        assert bombed.ending is not Ending.EXITED or bombed.exit_code != 0
        assert (calmed.stdout, calmed.exit_code) == ("calm\n", 0)

    def test_forks(self, host: Host) -> None:
        """A fork bomb does not get to its second process."""
        seen = host.run("import os\nwhile True: os.fork()")
        assert "PermissionError" in seen.stderr

    def test_descriptors(self, host: Host) -> None:
        """A program that opens too many descriptors gets an error at the limit."""
        seen = host.run("import os\nx = []\nwhile True: x.append(os.pipe())", n_open_files=32)
        assert "Too many open files" in seen.stderr

    def test_descriptors_of_all_threads(self, host: Host) -> None:
        """The limit of descriptors holds for all threads of a program together."""
        source = PREAMBLE + textwrap.dedent("""
            opened, buffered, lock, done = [0], [0], threading.Lock(), threading.Barrier(15)
            def hoard():
                for unshare in (lambda: call("close_range", 100, 200, 2), lambda: checked(libc.unshare(0x400))):
                    try:
                        unshare()
                    except OSError:
                        pass
                mine = []
                try:
                    while True:
                        pair = socket.socketpair()
                        mine.append(pair)
                        with lock:
                            opened[0] += 2
                        for one in pair:
                            try:
                                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
                            except OSError:
                                pass
                            one.setblocking(False)
                            try:
                                while True:
                                    n = one.send(bytes(1 << 16))
                                    with lock:
                                        buffered[0] += n
                            except OSError:
                                pass
                except OSError:
                    pass
                done.wait()
            threads = [threading.Thread(target=hoard) for _ in range(15)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            print(opened[0], buffered[0] >> 20)
            """)
        seen = host.run(source, cpu_s=20, wall_s=50)
        n_descriptors, n_mebibytes = map(int, seen.stdout.split())
        assert 0 < n_descriptors <= 64
        assert n_mebibytes <= 32

    def test_disk(self, host: Host) -> None:
        """A program can write no file outside of its two outputs, so it cannot fill a disk."""
        source = """
        import os
        for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run", "/", ".", P["home"]):
            try:
                with open(folder + "/bomb", "wb") as file:
                    while True:
                        file.write(bytes(1 << 20))
            except OSError as error:
                print("HELD", error.errno)
        """
        seen = host.run(textwrap.dedent(source))
        assert seen.stdout.count("HELD") == 7, seen


BUSY = {
    "a regular expression, signals ignored": """
        import re, signal
        for number in set(range(1, 65)) - {9, 19, 32, 33}:
            signal.signal(number, signal.SIG_IGN)
        re.match('(a+)+$', 'a' * 40 + 'b')
        """,
    "loops in threads": """
        import threading
        for _ in range(4):
            threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()
        while True: pass
        """,
}
IDLE = {
    "sleep": "import time\ntime.sleep(10**6)",
    "deadlock": "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
    "thread": "import threading\nthreading.Thread(target=threading.Event().wait).start()",
    "two locks": """
        import threading
        x, y, both = threading.Lock(), threading.Lock(), threading.Barrier(2)
        def take(first, second):
            with first:
                both.wait()
                with second: pass
        threading.Thread(target=take, args=(x, y)).start()
        take(y, x)
        """,
    "stopped": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "signals blocked": """
        import signal, time
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        time.sleep(10**6)
        """,
    "pipe": "import os\nr, w = os.pipe()\nos.read(r, 1)",
    "exit function": "import atexit, time\natexit.register(time.sleep, 10**6)",
    "asyncio": "import asyncio\nasyncio.run(asyncio.Event().wait())",
}


class TestProgramsThatDoNotEnd:
    """Every program ends by its limits, whatever it does about it."""

    def test_busy(self, host: Host) -> None:
        """A program that computes for ever ends at its processor time."""
        seen = host.run_together([textwrap.dedent(source) for source in BUSY.values()], cpu_s=1, wall_s=50)
        assert {name: one.ending for name, one in zip(BUSY, seen, strict=True)} == dict.fromkeys(BUSY, Ending.CPU_LIMIT)

    def test_idle(self, host: Host) -> None:
        """A program that sleeps for ever ends at its wall time."""
        seen = host.run_together([textwrap.dedent(source) for source in IDLE.values()], wall_s=0.5)
        assert {name: one.ending for name, one in zip(IDLE, seen, strict=True)} == dict.fromkeys(IDLE, Ending.TIMED_OUT)

    def test_daemonising(self, host: Host) -> None:
        """A program cannot stay by leaving its session; it has no second process to leave with."""
        source = """
        import os
        for step in (os.fork, os.setsid, os.forkpty):
            try:
                step()
                print("LEAKED", step)
            except OSError as error:
                print("HELD", step.__name__, error)
        """
        seen = host.run(textwrap.dedent(source))
        assert seen.stdout.count("HELD") == 3, seen


class TestEnds:
    """Ways to end that might upset what watches."""

    @pytest.mark.parametrize(
        ("source", "code"),
        [
            ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", -9),
            ("import resource\nresource.setrlimit(resource.RLIMIT_CPU, (0, 0))\nwhile True: pass", -9),
            ("import os\nos.abort()", -6),
            ("import ctypes\nctypes.string_at(0)", -11),
            ("import ctypes\nctypes.CDLL(None).raise_(5) if 0 else __import__('signal').raise_signal(5)", -5),
            ("import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return [f(y) for y in map(f, [x])]\nf(1)", None),
            ("import os\nos.closerange(0, 100)", 0),
            ("import sys\nsys.stdout = sys.stderr = sys.stdin = None", 0),
            ("import builtins\nfor n in list(vars(builtins)): delattr(builtins, n)", None),
            ("import sys\nsys.modules.clear()", None),
            ("import os\nos._exit(0)", 0),
            ("import sys, threading\nthreading._shutdown = None\nsys.stderr = threading\n1 / 0", 1),
            ("class Bad(Exception):\n    def __str__(self): raise SystemExit(0)\nraise Bad", 1),
            ("import sys\nsys.exit(type('Bad', (), {'__str__': lambda self: 1 / 0})())", 1),
            ("import sys\nsys.exc_info = sys.modules['traceback'].print_exception = None\n1 / 0", 1),
            ("import os\nos.dup2(1, 0); os.dup2(0, 2)", 0),
        ],
    )
    def test_strange_ends(self, host: Host, source: str, code: int | None) -> None:
        """A program that crashes or kills itself ends with its own exit code, and the sandbox does not fail."""
        seen = host.run(source, memory_bytes=1024 * MIB, cpu_s=4)
        assert code is None or seen.exit_code == code, seen

    def test_machine_code_of_another_architecture(self, host: Host) -> None:
        """A system call in another architecture's machine code kills the program."""
        source = """
        import ctypes, mmap, platform
        if platform.machine() == "x86_64":
            page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid); int 0x80; ret
            address = ctypes.addressof(ctypes.c_char.from_buffer(page))
            print("LEAKED", ctypes.CFUNCTYPE(ctypes.c_int)(address)())
        else:
            raise SystemExit("no second set of numbers here")
        """
        seen = host.run(textwrap.dedent(source))
        assert "LEAKED" not in seen.stdout
        assert seen.exit_code != 0


class TestAnswers:
    """What a program should have said is nowhere near it, and what it said is only bytes."""

    SEARCH = """
    import gc, inspect, sys
    words = {words!r}  # never joined into anything that the search itself could find
    def texts():
        frame = inspect.currentframe()
        while frame:
            yield from map(repr, list(frame.f_locals.values()) + list(frame.f_globals.values()))
            frame = frame.f_back
        for thing in gc.get_objects():
            try:
                yield from (str(x) for x in gc.get_referents(thing) if isinstance(x, (str, bytes)))
            except Exception:
                pass
        for module in list(sys.modules.values()):
            yield from (str(x) for x in list(vars(module).values()) if isinstance(x, (str, bytes, list, dict)))
    gc.unfreeze()
    n = sum(1 for text in texts() if "-".join(words) in text)
    print("LEAKED" if n else "HELD", sum(1 for _ in texts()) > 1000)
    """

    def test_expected_output_by_frames(self, host: Host) -> None:
        """Frames, modules and every object the interpreter knows hold no expected output."""
        seen = host.run(textwrap.dedent(self.SEARCH).format(words=EXPECTED.split("-")))
        assert seen.stdout == "HELD True\n", seen

    def test_an_earlier_programs_input(self, host: Host) -> None:
        """A program leaves nothing of its source or its input to the next one."""
        host.run("x = 'left-behind-in-source'\nprint(input())", stdin=b"left-behind-in-input\n")
        for words in (["left", "behind", "in", "input"], ["left", "behind", "in", "source"]):
            seen = host.run(textwrap.dedent(self.SEARCH).format(words=words))
            assert seen.stdout == "HELD True\n", seen

    def test_equality_that_lies(self, host: Host) -> None:
        """A printed object that equals everything is compared as the bytes that it prints."""
        seen = host.run(
            "class Equal(str):\n    def __eq__(self, other): return True\n    __hash__ = str.__hash__\n"
            "print(Equal('anything'))"
        )
        assert seen.stdout == "anything\n"

    def test_early_exit(self, host: Host) -> None:
        """A program that leaves by `os._exit` has an empty output and status 0."""
        seen = host.run("import os\nprint('unwritten')\nos._exit(0)")
        assert (seen.stdout, seen.exit_code, seen.ending) == ("", 0, Ending.EXITED)

    def test_early_exit_of_a_call(self, host: Host) -> None:
        """A call that leaves by `os._exit` returned nothing: not true, not false."""
        assert host.run("def solve(): return 'shared'", function="graded").returned == "true"
        assert host.run("def solve(): return 'other'", function="graded").returned == "false"
        assert host.run("import os\ndef solve(): os._exit(0)", function="graded").returned == ""

    def test_neighbours(self, host: Host) -> None:
        """Programs that run at the same time cannot touch each other."""
        victim = "import time\ntime.sleep(0.3)\nprint('unharmed')"
        attacker = PREAMBLE + textwrap.dedent("""
            refused = 0
            for pid in [*range(2, 300), *range(os.getpid() - 20, os.getpid() + 20)]:
                if pid == os.getpid():
                    continue
                try:
                    os.kill(pid, 9)
                    print("LEAKED", pid)
                except OSError:
                    refused += 1
            print(refused > 300)
            """)
        victims = host.run_together([victim, attacker, victim, attacker])
        assert [seen.stdout for seen in victims] == ["unharmed\n", "True\n"] * 2


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_the_hosts_death(way: Way) -> None:
    """When the process that owns a sandbox is killed, every process of the sandbox is gone with it."""
    with host_of(way) as host:
        n_idle = len(host.pids())
        never = {"source": "import time\ntime.sleep(10**6)", "stdin": "", "function": None, "limits": ""}
        busy = {**never, "source": "while True: pass"}
        host.ask([never, busy])
        assert comes_true_within(20, lambda: len(host.pids()) == n_idle + 2)
        host.process.kill()
        host.process.wait()
        assert comes_true_within(20, lambda: not host.pids())
