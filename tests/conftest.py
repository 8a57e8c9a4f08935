"""What tests share: an emulator, a clock set by hand, mocks for the request layer."""

import asyncio
import gc
import inspect
import os
from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from typing import Any, TypeVar
from unittest.mock import Mock

import hypothesis
import pytest
from aiohttp import ClientResponse
from aioresponses import aioresponses

from keevx_async.testing import Emulator
from tests.support.coverage_data import remove_unfinished
from tests.support.fleet import program, redis_server, redis_session

__all__ = ["redis_server", "redis_session"]  # fixtures

hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")

T = TypeVar("T")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Five at least: most tests wait more than they work."""
    return max(5, os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long tests, so that no worker is left with one when the others are done.

    The tests that load the whole machine go to one worker, one after the other.
    """
    for item in items:
        if item.get_closest_marker("alone") is not None:
            item.add_marker(pytest.mark.xdist_group("alone"))
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    for turn, mark in enumerate(("alone", "slow")):
        if item.get_closest_marker(mark) is not None:
            return turn
    return 3 if "unit" in item.path.parts else 2


def pytest_collection_finish() -> None:
    """Let no garbage collection go through what was imported and collected: that stays anyway."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Leave out what killed processes measured, before pytest-cov combines all files."""
    result = yield
    if not hasattr(session.config, "workerinput"):
        remove_unfinished(session.config.invocation_params.dir)
    return result


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the fleet's tests from here where there is no Redis: one line then tells of them all."""
    if item.get_closest_marker("fleet") is not None:
        program()


def at_once(what: Coroutine[Any, Any, T]) -> T:
    """Run what never waits, such as reading a journal in SQLite, whether or not a loop runs."""
    try:
        what.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    what.close()
    raise AssertionError("it waits")


class FakeClock:
    """A clock set by hand; calling it tells the time, sleeping moves it on at once.

    It stands where `loop.time` would: `clock()` reads, `clock.sleep` waits, `clock.sleeps`
    holds every wait that was asked for.
    """

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError(f"time runs forward only, not {seconds} s")
        self.now += seconds

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.advance(max(seconds, 0))
        await asyncio.sleep(0)


class MockedResponse(ClientResponse):
    """aioresponses 0.7.9 builds responses without the stream_writer that aiohttp 3.14 requires."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "stream_writer" in inspect.signature(ClientResponse.__init__).parameters:
            kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


@pytest.fixture(autouse=True, scope="session")
def programs_without_debugging() -> None:
    """Programs that tests start warn as in dev mode, but without its asyncio debugging.

    That tells on standard error how long a step took, so a test of what standard error holds would
    be one of time. A fixture runs in the workers only, which are themselves in dev mode.
    """
    if os.environ.pop("PYTHONDEVMODE", None):
        os.environ.update(PYTHONWARNINGS="default", PYTHONFAULTHANDLER="1")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, base URL, proxy or certificates of the developer's own reach a test.

    Certificates that a variable names are read again for each client, which takes 20 ms.
    """
    for name in list(os.environ):
        if (
            name.startswith(("KEEVX_", "SSL_CERT_"))
            or name == "REQUESTS_CA_BUNDLE"
            or name.lower().endswith("_proxy")
        ):
            monkeypatch.delenv(name)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def mocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses]:
    """Scripts aiohttp's answers; an unmatched request raises ClientConnectionError."""
    # Its default, not response_class= on each call, so that callbacks' answers have it too.
    monkeypatch.setattr("aioresponses.core.ClientResponse", MockedResponse)
    with aioresponses() as mocks:
        yield mocks


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """A Keevx API on a real loopback socket."""
    async with Emulator(seconds=0.05) as running:
        yield running
