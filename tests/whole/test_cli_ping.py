"""`keevx ping` as a user runs it: one line, and an exit code that a probe understands."""

from pathlib import Path

from keevx_async.testing import Emulator
from tests.support.cli import at, keevx
from tests.support.cli_verbs import objects
from tests.support.ports import refusing


async def test_ping_says_that_the_key_is_accepted(tmp_path: Path) -> None:
    async with Emulator() as emulator:
        ran = await keevx("ping", cwd=tmp_path, **at(emulator))
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith(f"{emulator.url} accepts the key (")
        ran = await keevx("ping", "--json", cwd=tmp_path, **at(emulator))
        (line,) = objects(ran.out)
        assert line["base_url"] == emulator.url
        assert emulator.creates.total() == 0


async def test_ping_names_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    async with Emulator(api_key="right") as emulator:
        ran = await keevx("ping", cwd=tmp_path, **at(emulator))
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "KEEVX_API_KEY" in ran.err
    with refusing() as nowhere:
        ran = await keevx("ping", cwd=tmp_path, KEEVX_BASE_URL=nowhere, KEEVX_API_KEY="test-key")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert nowhere.removeprefix("http://") in ran.err
