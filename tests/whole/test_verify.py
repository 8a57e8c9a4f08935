"""Downloaded videos are compared with their requests, and kept whatever comes of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from keevx_async.events import Mismatched
from keevx_async.testing import Emulator
from keevx_async.transfer import probe
from tests.support.cli import at, keevx, written
from tests.support.client import a_request, keevx_of
from tests.support.probing import FFPROBE, HAS_AV, needs_a_probe

pytestmark = needs_a_probe
PROBES = [
    pytest.param("av", marks=pytest.mark.skipif(not HAS_AV, reason="needs PyAV")),
    pytest.param("ffprobe", marks=pytest.mark.skipif(not FFPROBE, reason="needs ffprobe")),
]


class Short(Emulator):
    """Makes the videos of some prompts of half the seconds that were asked for."""

    def make(self, kind: Any, body: Any, raw: bytes) -> Any:
        if "short" in kind.subject(body):
            raw = json.dumps(dict(body) | {"duration": body["duration"] // 2}).encode()
        return super().make(kind, body, raw)


@pytest.mark.parametrize("by", PROBES)
async def test_a_mismatch_is_an_event_and_no_lost_file(
    tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "ffprobe":
        monkeypatch.setattr(probe, "find_spec", lambda name: None)
    events: list[Any] = []
    requests = [a_request("fine", generate_audio=True), a_request("short")]
    async with (
        Short(seconds=0.02) as emulator,
        keevx_of(emulator, verify="probe", on_event=events.append) as client,
    ):
        fan = await client.generate_many(requests, download=tmp_path)
    fine, short = fan.outcomes
    assert (fine.ok, fine.mismatches) == (True, ())
    assert short.ok
    (path,) = short.paths
    assert path.exists()
    assert short.mismatches == (f"{path} plays 3.0 s instead of 6 s",)
    (event,) = [event for event in events if isinstance(event, Mismatched)]
    assert event == Mismatched(short.task_ids[0], path, ("plays 3.0 s instead of 6 s",))


async def test_without_verify_nothing_is_probed(tmp_path: Path) -> None:
    async with Short(seconds=0.02) as emulator, keevx_of(emulator) as client:
        fan = await client.generate_many([a_request("short")], download=tmp_path)
    assert fan.outcomes[0].mismatches == ()


async def test_the_command_lists_mismatches_and_records_them(tmp_path: Path) -> None:
    url = "https://example.com/a.png"
    ways = {"model": "V", "aspect_ratio": "16:9", "aspect_resolution": "720p", "duration": 8}
    rows = [{"prompt": name, "image_url": url} | ways for name in ("short", "fine")]
    file, out = written(tmp_path / "p.jsonl", rows), tmp_path / "out"
    async with Short(seconds=0.02) as emulator:
        ran = await keevx("run", file, "--out", out, "--verify", cwd=tmp_path, **at(emulator))
    assert ran.code == 0, ran.err
    items = map(json.loads, (out / "results.jsonl").read_text().splitlines())
    found = {item["prompt"]: item["mismatches"] for item in items}
    assert found.pop("fine") == []
    assert found["short"][0].endswith("plays 4.0 s instead of 8 s")
    assert f"{file}:1: " in ran.err
    assert "plays 4.0 s instead of 8 s" in ran.err.replace("\n", " ")
