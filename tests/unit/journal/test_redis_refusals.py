"""What each error of Redis means, and what a call does about it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from redis import exceptions
from redis._parsers.base import BaseParser

from keevx_async import JournalError, Task
from keevx_async.journal.redis.journal import RedisJournal
from keevx_async.journal.redis.refusals import refusal_of
from keevx_async.journal.redis.unwritten import Unwritten
from tests.support.simulated import simulated

KIND, BODY = "image_to_video", b"{}"

# Redis 7's createSharedObjects (server.c), cluster.c and acl.c, each as the server words it.
PASSING = [
    "READONLY You can't write against a read only replica.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "NOREPLICAS Not enough good replicas to write.",
    "MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk.",
    "MISCONF Errors writing to the AOF file: No space left on device",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "LOADING Redis is loading the dataset in memory",
    "CLUSTERDOWN The cluster is down",
    "CLUSTERDOWN Hash slot not served",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "ERR max number of clients reached",
]
LASTING = [
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "NOPERM this user has no permissions to run the 'evalsha' command",
    "CROSSSLOT Keys in request don't hash to the same slot",
    "MOVED 1234 127.0.0.1:6381",
    "ASK 1234 127.0.0.1:6381",
    "NOSCRIPT No matching script. Please use EVAL.",
    "EXECABORT Transaction discarded because of previous errors.",
    "UNKILLABLE Sorry the script already executed write commands against the dataset.",
    "NOTBUSY No scripts in execution right now.",
    "NOGOODSLAVE No suitable replica to promote",
    "NOPROTO unsupported protocol version",
    "BUSYKEY Target key name already exists.",
    "BUSYGROUP Consumer Group name already exists",
    "DENIED Redis is running in protected mode",
    "ERR unknown command 'EVALSHA'",
    "ERR Error compiling script (new function): user_script:1: '=' expected",
    "WHATEVER is said by a server that is newer than we are",
]
AWAY = [
    exceptions.ConnectionError("Connection refused"),
    exceptions.TimeoutError("Timeout reading from socket"),
    exceptions.MaxConnectionsError("Too many connections"),
]


def as_redis_py_raises(text: str) -> list[Any]:
    """Return the error of a command, of a script before version 7, and of a pipeline."""
    plain = BaseParser.parse_error(text)
    code, _, rest = text.partition(" ")
    nested = f"ERR Error running script (call to f_5ad0): @user_script:12: -{code} {rest}"
    piped = BaseParser.parse_error(text)
    piped.args = (f"Command # 1 (EVALSHA 5ad0) of pipeline caused error: {piped}",)
    return [plain, BaseParser.parse_error(nested), piped]


@pytest.mark.parametrize("text", PASSING)
def test_a_refusal_that_passes_is_known_however_it_is_raised(text: str) -> None:
    for error in as_redis_py_raises(text):
        assert refusal_of(error).passes, repr(error)


@pytest.mark.parametrize("text", LASTING)
def test_any_other_refusal_does_not_pass(text: str) -> None:
    for error in as_redis_py_raises(text):
        assert not refusal_of(error).passes, repr(error)


@pytest.mark.parametrize("error", AWAY)
def test_a_server_that_does_not_answer_may_come_back(error: Any) -> None:
    assert refusal_of(error).passes


def test_each_error_class_of_redis_py_has_a_meaning() -> None:
    """A class that a new redis-py brings shows up here, and is to be thought about."""
    passing = {
        name
        for name, kind in vars(exceptions).items()
        if isinstance(kind, type)
        and issubclass(kind, exceptions.RedisError)
        and refusal_of(kind("1 here:1")).passes
    }
    assert passing == {
        "ConnectionError", "TimeoutError", "BusyLoadingError", "ReadOnlyError",
        "MaxConnectionsError", "OutOfMemoryError", "TryAgainError", "ClusterDownError",
        "MasterDownError", "ExternalAuthProviderError",
    }  # fmt: skip


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


class Refusing:
    """A client whose server refuses until it is told otherwise, and counts what it ran."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.left, self.ran = error, times, 0

    async def evalsha(self, sha: str, numkeys: int, /, *words: Any) -> Any:
        self.ran += 1
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return [b"ok", b""]

    async def script_load(self, script: str, /) -> Any: ...

    def pipeline(self) -> Any: ...


WRITES: list[Callable[[RedisJournal], Awaitable[Any]]] = [
    lambda journal: journal.mark_submitted("k", ["i2v-1"]),
    lambda journal: journal.mark_uncertain("k", "lost", ["i2v-1"]),
    lambda journal: journal.mark_refused("k", "no"),
    lambda journal: journal.mark_planned("k"),
    lambda journal: journal.mark_ended(Task(task_id="i2v-1", status="FAILED")),
    lambda journal: journal.release("k"),
]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("text", [*PASSING, *LASTING])
@simulated
async def test_what_was_paid_is_written_again_whatever_the_refusal(
    text: str, write: Callable[[RedisJournal], Awaitable[Any]]
) -> None:
    client = Refusing(BaseParser.parse_error(text), 40)
    async with RedisJournal(client, reconnect_timeout=float("inf")) as journal:
        await write(journal)
    assert client.ran >= 41


@pytest.mark.parametrize("text", PASSING)
@simulated
async def test_an_intent_waits_for_a_refusal_to_pass(text: str) -> None:
    client = Refusing(BaseParser.parse_error(text), 3)
    async with RedisJournal(client) as journal:
        await journal.mark_sending("k", KIND, BODY)
    assert client.ran >= 4


@simulated
async def test_an_outage_is_a_few_lines_whoever_waits(caplog: pytest.LogCaptureFixture) -> None:
    client = Refusing(exceptions.ConnectionError("gone"), 2_000)
    async with RedisJournal(client, reconnect_timeout=float("inf")) as journal:
        await asyncio.gather(*(journal.mark_sending(f"k{n}", KIND, BODY) for n in range(100)))
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "Redis is unavailable: gone; waiting for it"
    assert lines[-1].startswith("Redis is back after ")
    assert len(lines) <= 4


@simulated
async def test_ids_that_were_not_written_are_one_line_and_taken_up_by_the_next_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = Refusing(exceptions.ResponseError("NOREPLICAS none"), 10_000)
    async with RedisJournal(gone, reconnect_timeout=5.0, unwritten=tmp_path) as journal:
        writes = (journal.mark_submitted(f"k{n}", [f"i2v-{n}"]) for n in range(3))
        errors = await asyncio.gather(*writes, return_exceptions=True)
    assert all(isinstance(error, JournalError) and error.task_ids for error in errors)
    (line,) = [one.getMessage() for one in caplog.records if "not in the journal" in one.message]
    ids = {f"k{n}": [f"i2v-{n}"] for n in range(3)}
    assert json.loads(line.partition(": ")[2]) == {"journal": "keevx", "unwritten": ids}
    client = Refusing(exceptions.ResponseError("x"), 0)
    async with RedisJournal(client, unwritten=tmp_path) as journal:
        await journal.write_left_ids()
        assert client.ran == 3
        await journal.write_left_ids()
        assert client.ran == 3, "the file is gone"
    assert not names_in(tmp_path)


@simulated
async def test_ids_that_are_written_in_the_end_leave_no_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = Refusing(exceptions.ResponseError("OOM full"), 3)
    async with RedisJournal(client, unwritten=tmp_path) as journal:
        await journal.mark_submitted("k", ["i2v-1"])
    assert not names_in(tmp_path)
    assert "all task ids are in the journal now" in caplog.text


def test_a_file_that_a_kill_cut_short_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('["k", ["i2v-1"]]\n["k2", ["i2')
    (left,) = Unwritten("keevx", tmp_path).left_by_others()
    assert left.ids == {"k": ("i2v-1",)}


@simulated
async def test_a_worker_that_stops_waits_for_redis_for_a_bounded_time() -> None:
    client = Refusing(exceptions.ResponseError("MISCONF disk"), 10_000)
    loop = asyncio.get_running_loop()
    async with RedisJournal(client, reconnect_timeout=float("inf")) as journal:
        writing = asyncio.ensure_future(journal.mark_submitted("k", ["i2v-1"]))
        await asyncio.sleep(100.0)
        assert not writing.done()
        began = loop.time()
        journal.connection.end_within(20.0)
        with pytest.raises(JournalError):
            await writing
        assert loop.time() - began <= 20.0


@simulated
async def test_a_claim_waits_for_a_bounded_time_and_names_the_holder() -> None:
    class Held(Refusing):
        async def evalsha(self, sha: str, numkeys: int, /, *words: Any) -> Any:
            return [b"held", b"host-7#12"]

    async with RedisJournal(Held(ValueError(), 0)) as journal:
        with pytest.raises(JournalError, match="k has been claimed by worker host-7#12 for 300 s"):
            await journal.claim(KIND, BODY, "k")
