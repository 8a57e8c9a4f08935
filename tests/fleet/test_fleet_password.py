"""A password of Redis from the environment: it logs in, and is shown nowhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from keevx_async import ConfigurationError, JournalError
from keevx_async.docket import KeevxDocket, RedisJournal
from keevx_async.journal.redis.credentials import PASSWORD_VARIABLE, login_of
from keevx_async.testing import Emulator
from tests.support.cli import GOOD, at, keevx, start, written
from tests.support.fleet import RedisServer, program

SECRET = "hunter2/?#@:"


def test_the_password_is_of_the_environment_unless_the_url_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    assert login_of("redis://h/0") == ("redis://h/0", None)
    monkeypatch.setenv(PASSWORD_VARIABLE, SECRET)
    for url, user in (
        ("redis://h:6379/0?max_connections=5", None),
        ("rediss://film%20maker@h:6379/0?max_connections=5", "film maker"),
        ("redis+sentinel://s1:26379,s2:26379/main/0", None),
    ):
        login = login_of(url)
        assert login.provider is not None
        expected = (SECRET,) if user is None else (user, SECRET)
        assert login.provider.get_credentials() == expected
        assert login.url == url.replace("film%20maker@", "")
        assert SECRET not in repr(login)
    for url in ("redis://:own@h/0", "redis://u:own@h/0", "redis://h/0?password=own", "memory://a"):
        assert login_of(url) == (url, None)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that asks for a password, and for another of the user film."""
    server = RedisServer(program(), tmp_path)
    server.start()
    try:
        with redis.Redis(port=server.port) as client:
            client.execute_command(
                "ACL", "SETUSER", "film", "on", f">{SECRET}", "~*", "&*", "+@all"
            )
            client.execute_command("CONFIG", "SET", "requirepass", SECRET)
        yield server
    finally:
        server.stop()


@pytest.mark.fleet
@pytest.mark.parametrize("user", ["", "film@"])
async def test_docket_and_journal_log_in_with_it(
    guarded: RedisServer, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    url = guarded.url.replace("redis://", f"redis://{user}")
    monkeypatch.setenv(PASSWORD_VARIABLE, SECRET)
    async with KeevxDocket("films", url) as docket, RedisJournal.from_url(url) as journal:
        assert not any((await docket.progress()).values())
        assert await journal.get_note("any") is None
        assert SECRET not in repr([docket, docket.creates, journal, vars(docket.creates)])
    monkeypatch.setenv(PASSWORD_VARIABLE, "wrong" + SECRET)
    with pytest.raises(ConfigurationError) as refused:
        await KeevxDocket("films", url).__aenter__()
    assert SECRET not in str(refused.value)
    async with RedisJournal.from_url(url) as journal:
        with pytest.raises(JournalError) as other:
            await journal.counts()
        assert SECRET not in str(other.value)


@pytest.mark.fleet
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
async def test_a_run_and_its_worker_log_in_and_show_it_nowhere(
    guarded: RedisServer, tmp_path: Path
) -> None:
    written(tmp_path / "p.jsonl", [GOOD])
    fleet = ("--docket", guarded.url)
    async with Emulator(seconds=0.1) as emulator:
        env = at(emulator) | {PASSWORD_VARIABLE: SECRET}
        worker = await start("worker", *fleet, cwd=tmp_path, **env)
        try:
            ran = await keevx("run", "p.jsonl", *fleet, "--out", "out", cwd=tmp_path, **env)
            listed = await keevx("journal", *fleet, cwd=tmp_path, **env)
        finally:
            worker.terminate()
            _, err = await worker.communicate()
        assert (ran.code, listed.code, worker.returncode) == (0, 0, 0), ran.err
        wrong = await keevx("journal", *fleet, cwd=tmp_path, **env | {PASSWORD_VARIABLE: "no"})
        assert wrong.code == 2
        assert "KEEVX_REDIS_PASSWORD" in wrong.err
        for text in (ran.out, ran.err, listed.out, listed.err, err.decode(), wrong.err):
            assert SECRET not in text
