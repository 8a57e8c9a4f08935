"""The `keevx` command as a user runs it: a real process, the Emulator as Keevx."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from keevx_async.testing import Emulator
from tests.support.cli import GOOD, at, keevx, written


@pytest.mark.smoke
async def test_the_demo_ends_with_twenty_ids_and_twenty_whole_files(tmp_path: Path) -> None:
    ran = await keevx("demo", "--out", "here", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert len(set(re.findall(r"^i2v-[0-9a-f]{32}", ran.out, re.MULTILINE))) == 20
    files = list((tmp_path / "here").glob("*.mp4"))
    assert len(files) == 20
    assert {file.stat().st_size for file in files} == {200_000}
    assert "20 of 20 done" in ran.err
    assert ran.err.splitlines()[-1] == "View the results: here/index.html"
    page = (tmp_path / "here" / "index.html").read_text(encoding="utf-8")
    thumbnails = list((tmp_path / "here" / "thumbnails").iterdir())
    assert len(thumbnails) == 20
    assert all(path.name in page for path in [*files, *thumbnails])
    assert "0 of them twice" in ran.out


async def test_a_bad_line_is_named_and_nothing_is_sent(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text(f'{json.dumps(GOOD)}\n{{"model": \n')
    async with Emulator() as emulator:
        ran = await keevx("run", "prompts.jsonl", cwd=tmp_path, **at(emulator))
        assert ran.code == 2
        assert "prompts.jsonl:2: invalid JSON" in ran.err
        assert "nothing was sent" in ran.err
        assert not emulator.requests


async def test_a_missing_key_and_a_refusing_host_are_one_clear_line_each(tmp_path: Path) -> None:
    file = written(tmp_path / "prompts.jsonl", [GOOD])
    ran = await keevx("run", file, cwd=tmp_path)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "KEEVX_API_KEY" in ran.err
    async with Emulator() as emulator:
        refused = emulator.url
    ran = await keevx("run", file, cwd=tmp_path, KEEVX_API_KEY="k", KEEVX_BASE_URL=refused)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "could not reach" in ran.err
    assert "KEEVX_BASE_URL" in ran.err


async def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "cyclopts.py").write_text("raise ModuleNotFoundError(name='cyclopts')")
    ran = await keevx("demo", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert ran.code == 1
    assert "pip install 'keevx_async[cli]'" in ran.err
