"""A server that forks Python programs, `keevx` above all, so that each does not import everything.

An interpreter that has imported the command line waits for requests, and forks a process for each:
a real one, with its own arguments, folder, environment, descriptors and exit code. Only what an
interpreter or a module reads once, as it starts, is the server's.

    python -m tests.support.forking DESCRIPTOR
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from asyncio.base_subprocess import BaseSubprocessTransport
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module, util
from pathlib import Path
from typing import Any, NamedTuple, cast

import keevx_async.cli
from keevx_async.cli.output import console
from tests.support.signals import default_signals

if sys.platform != "win32":
    import fcntl
    import termios

ROOT = Path(__file__).parents[2]
TIME_LIMIT = 300  # seconds for a command that should end by itself
LENGTH = 4  # bytes that say how long a request is
# Read when an interpreter starts, and when aiohttp is imported.
READ_ONCE = ("PYTHON", "LC_", "LANG", "SSL")


def can_fork(env: dict[str, str]) -> bool:
    """Whether a forked process behaves with these variables as a new one does."""
    return hasattr(os, "fork") and not any(name.startswith(READ_ONCE) for name in env)


class Start(NamedTuple):
    """How a program starts, other than its words say.

    Attributes:
        session: in a session of its own.
        terminal: in a session whose terminal is its standard input.
        ignored: the names of signals that its parent ignores.
    """

    session: bool = False
    terminal: bool = False
    ignored: Sequence[str] = ()


class ForkServer:
    """The server's process, which ends once this one has ended.

    A program is given as the words that follow an interpreter: ``-m``, a module and its arguments;
    or ``-c``, its text and its arguments.
    """

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs, default_signals():
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.forking", str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        atexit.register(self.close)

    def close(self) -> None:
        self._socket.close()
        self._process.wait()

    def run(
        self, words: Sequence[str], given: bytes, cwd: Path, env: dict[str, str]
    ) -> tuple[int, bytes, bytes]:
        """Run a program; return its exit code, and what it wrote. A death by signal n is -n.

        Raises:
            AssertionError: it did not end in time, and was killed.
        """
        reading, writing = os.pipe()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            report = self._send(words, cwd, env, [reading, out.fileno(), err.fileno()], Start())
            os.close(reading)
            with suppress(BrokenPipeError), open(writing, "wb") as pipe:
                pipe.write(given)
            with open(report, "rb", buffering=0) as lines:
                pid = int(lines.readline())
                in_time = select.select([lines], [], [], TIME_LIMIT)[0]
                if not in_time:
                    os.kill(pid, signal.SIGKILL)
                code = int(lines.read())
            out.seek(0)
            err.seek(0)
            wrote = out.read(), err.read()
            assert in_time, f"{words} runs after {TIME_LIMIT} s: {wrote}"
            return code, *wrote

    def start(
        self,
        words: Sequence[str],
        cwd: Path,
        env: dict[str, str],
        streams: Sequence[int] = (subprocess.PIPE,) * 3,
        how: Start | None = None,
    ) -> Forked:
        """Start a program. A stream is a descriptor, or ``subprocess.PIPE`` or ``DEVNULL``."""
        theirs, ours, opened = list(streams), [-1, -1, -1], list[int]()
        for number, stream in enumerate(streams):
            if stream == subprocess.PIPE:
                reading, writing = os.pipe()
                theirs[number], ours[number] = (writing, reading) if number else (reading, writing)
                opened.append(theirs[number])
            elif stream == subprocess.DEVNULL:
                theirs[number] = os.open(os.devnull, os.O_RDWR)
                opened.append(theirs[number])
        report = self._send(words, cwd, env, theirs, how or Start())
        for descriptor in opened:
            os.close(descriptor)
        return Forked(report, ours)

    def _send(
        self,
        words: Sequence[str],
        cwd: Path,
        env: dict[str, str],
        streams: Sequence[int],
        how: Start,
    ) -> int:
        """Have a program forked; return what its process id is read from, and its exit code."""
        request = json.dumps([list(words), os.fspath(cwd), env, how]).encode()
        report, ending = os.pipe()
        with self._lock:
            length = len(request).to_bytes(LENGTH, "big")
            socket.send_fds(self._socket, [length], [*streams, ending])
            self._socket.sendall(request)
        os.close(ending)
        return report


class Forked:
    """A command's process, as asyncio uses a ``subprocess.Popen``."""

    def __init__(self, report: int, pipes: Sequence[int]) -> None:
        self.report = os.fdopen(report, "rb", buffering=0)
        self.pid = int(self.report.readline())
        # The transport closes these.
        self.stdin, self.stdout, self.stderr = (
            None if pipe == -1 else os.fdopen(pipe, "rb" if number else "wb", buffering=0)
            for number, pipe in enumerate(pipes)
        )
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it ends just now
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkedTransport(BaseSubprocessTransport):
    """Connects asyncio to a process that the server forked, instead of to a child of its own."""

    def __init__(self, forked: Forked, protocol: Any, waiter: asyncio.Future[None]) -> None:
        self._forked, loop = forked, asyncio.get_running_loop()
        pipes = (forked.stdin, forked.stdout, forked.stderr)
        kinds = [subprocess.DEVNULL if pipe is None else subprocess.PIPE for pipe in pipes]
        stdin, stdout, stderr = kinds
        super().__init__(loop, protocol, (), False, stdin, stdout, stderr, 0, waiter)
        loop.add_reader(forked.report, self._ended)

    def _start(self, *_: object, **__: object) -> None:
        self._proc = cast(Any, self._forked)

    def _ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._forked.report)
        self._forked.returncode = code = int(self._forked.report.read())
        self._forked.report.close()
        self._process_exited(code)


async def python(
    *words: object,
    cwd: Path,
    env: dict[str, str],
    streams: Sequence[int] = (subprocess.PIPE,) * 3,
    how: Start | None = None,
) -> asyncio.subprocess.Process:
    """Start a program as ``asyncio.create_subprocess_exec`` does, in a forked process."""
    texts = [str(word) for word in words]
    forked = await asyncio.to_thread(fork_server().start, texts, cwd, env, streams, how)
    loop = asyncio.get_running_loop()
    protocol = asyncio.subprocess.SubprocessStreamProtocol(2**16, loop)
    connected = loop.create_future()
    transport = ForkedTransport(forked, protocol, connected)
    await connected
    return asyncio.subprocess.Process(transport, protocol, loop)


fork_server = cache(ForkServer)


def serve(requests: socket.socket) -> None:
    """Fork for each request, until nobody can send any more."""
    while True:
        length, descriptors, _, _ = socket.recv_fds(requests, LENGTH, 4)
        if not length:
            return
        words, cwd, env, how = json.loads(received(requests, int.from_bytes(length, "big")))
        reap()
        if os.fork() == 0:
            requests.close()
            if (child := os.fork()) == 0:
                become(cwd, env, Start(*how), descriptors)
                run_program(*words)
                return
            os.write(descriptors[3], b"%d\n" % child)
            _, status = os.waitpid(child, 0)
            os.write(descriptors[3], b"%d" % os.waitstatus_to_exitcode(status))
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def reap() -> None:
    """Collect what has ended, so that its CPU time counts as this process's, and so the test's."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def received(requests: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        data += requests.recv(length - len(data))
    return data


def become(cwd: str, env: dict[str, str], how: Start, descriptors: Sequence[int]) -> None:
    """Turn this process into what a shell would have started."""
    if how.session or how.terminal:
        os.setsid()
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        os.close(descriptor)
    if how.terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # which Ctrl-C on it signals
    for name in how.ignored:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False, buffering=1, errors="backslashreplace")
    # It finds out as it is made whether it writes to a terminal, and to which.
    with warnings.catch_warnings(action="ignore"):  # that the module is imported already
        made = runpy.run_module(console.__name__)["ERRORS"]
    vars(console.ERRORS).update(vars(made))


def run_program(kind: str, program: str, *arguments: str) -> None:
    """Run what an interpreter would: a text (``-c``) or a module (``-m``)."""
    if kind == "-c":
        sys.argv = ["-c", *arguments]
        exec(program, {"__name__": "__main__"})  # noqa: S102 - a test's own
    elif program == "keevx_async.cli":
        sys.argv = ["keevx", *arguments]
        keevx_async.cli.main()
    else:
        sys.argv = [program, *arguments]
        runpy.run_module(program, run_name="__main__", alter_sys=True)


def import_all() -> None:
    """Import what commands import when they run."""
    import_module("keevx_async.cli.app")
    for package in ("keevx_async.cli.commands", "keevx_async.cli.output"):
        for found in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
            import_module(found.name)
    if util.find_spec("docket") is not None:
        import_module("keevx_async.docket")


def save_coverage() -> None:
    """Write down what the imports covered; else each process would, for as long as a command."""
    coverage = sys.modules.get("coverage")
    if coverage and (measuring := coverage.Coverage.current()):
        measuring.save()


if __name__ == "__main__":
    import_all()
    save_coverage()
    gc.freeze()
    assert threading.active_count() == 1, "a process with threads must not fork"
    serve(socket.socket(fileno=int(sys.argv[1])))
