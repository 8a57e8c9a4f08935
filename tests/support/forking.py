"""A server that forks `keevx` processes, so that each does not import everything again.

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
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from asyncio.base_subprocess import BaseSubprocessTransport
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module, util
from pathlib import Path
from typing import Any, cast

import keevx_async.cli
from tests.support.signals import default_signals

TIME_LIMIT = 300  # seconds for a command that should end by itself
LENGTH = 4  # bytes that say how long a request is
# Read when an interpreter starts, and when aiohttp is imported.
READ_ONCE = ("PYTHON", "LC_", "LANG", "SSL")


def can_fork(env: dict[str, str]) -> bool:
    """Whether a forked process behaves with these variables as a new one does."""
    return hasattr(os, "fork") and not any(name.startswith(READ_ONCE) for name in env)


class ForkServer:
    """The server's process, which ends once this one has ended."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs, default_signals():
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.forking", str(theirs.fileno())],
                cwd=Path(__file__).parents[2],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        atexit.register(self.close)

    def close(self) -> None:
        self._socket.close()
        self._process.wait()

    def run(
        self, arguments: Sequence[str], given: bytes, cwd: Path, env: dict[str, str]
    ) -> tuple[int, bytes, bytes]:
        """Run a command; return its exit code, and what it wrote. A death by signal n is -n.

        Raises:
            AssertionError: it did not end in time, and was killed.
        """
        reading, writing = os.pipe()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            report = self._send(arguments, cwd, env, [reading, out.fileno(), err.fileno()])
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
            assert in_time, f"keevx {arguments} runs after {TIME_LIMIT} s: {wrote}"
            return code, *wrote

    def start(self, arguments: Sequence[str], cwd: Path, env: dict[str, str]) -> Forked:
        """Start a command with pipes for its standard streams."""
        pipes = [os.pipe() for _ in range(3)]
        theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
        report = self._send(arguments, cwd, env, theirs)
        for descriptor in theirs:
            os.close(descriptor)
        return Forked(report, pipes[0][1], pipes[1][0], pipes[2][0])

    def _send(
        self, arguments: Sequence[str], cwd: Path, env: dict[str, str], streams: list[int]
    ) -> int:
        """Have a command forked; return what its process id is read from, and its exit code."""
        request = json.dumps([list(arguments), os.fspath(cwd), env]).encode()
        report, ending = os.pipe()
        with self._lock:
            length = len(request).to_bytes(LENGTH, "big")
            socket.send_fds(self._socket, [length], [*streams, ending])
            self._socket.sendall(request)
        os.close(ending)
        return report


class Forked:
    """A command's process, as asyncio uses a ``subprocess.Popen``."""

    def __init__(self, report: int, stdin: int, stdout: int, stderr: int) -> None:
        self.report = os.fdopen(report, "rb", buffering=0)
        self.pid = int(self.report.readline())
        # The transport closes these.
        self.stdin = os.fdopen(stdin, "wb", buffering=0)
        self.stdout = os.fdopen(stdout, "rb", buffering=0)
        self.stderr = os.fdopen(stderr, "rb", buffering=0)
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
        self._forked, loop, pipe = forked, asyncio.get_running_loop(), subprocess.PIPE
        super().__init__(loop, protocol, (), False, pipe, pipe, pipe, 0, waiter)
        loop.add_reader(forked.report, self._ended)

    def _start(self, *_: object, **__: object) -> None:
        self._proc = cast(Any, self._forked)

    def _ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._forked.report)
        self._forked.returncode = code = int(self._forked.report.read())
        self._forked.report.close()
        self._process_exited(code)


async def forked_process(
    arguments: Sequence[str], cwd: Path, env: dict[str, str]
) -> asyncio.subprocess.Process:
    """Start a command as ``asyncio.create_subprocess_exec`` does, in a forked process."""
    forked = await asyncio.to_thread(fork_server().start, arguments, cwd, env)
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
        request = json.loads(received(requests, int.from_bytes(length, "big")))
        reap()
        if os.fork() == 0:
            requests.close()
            if (child := os.fork()) == 0:
                become(*request, *descriptors)
                keevx_async.cli.main()
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


def become(arguments: list[str], cwd: str, env: dict[str, str], *descriptors: int) -> None:
    """Turn this process into what a shell would have started."""
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        os.close(descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["keevx", *arguments]
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False, buffering=1, errors="backslashreplace")


def import_all() -> None:
    """Import what commands import when they run."""
    import_module("keevx_async.cli.app")
    for package in ("keevx_async.cli.commands", "keevx_async.cli.output"):
        for found in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
            import_module(found.name)
    if util.find_spec("docket") is not None:
        import_module("keevx_async.docket")


if __name__ == "__main__":
    import_all()
    gc.freeze()
    assert threading.active_count() == 1, "a process with threads must not fork"
    serve(socket.socket(fileno=int(sys.argv[1])))
