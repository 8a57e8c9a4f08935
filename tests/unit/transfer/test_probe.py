"""How a video is compared with its request."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from keevx_async import ConfigurationError, ImageGenerate
from keevx_async.transfer import probe as module
from keevx_async.transfer.probe import Played, check_verify, mismatches, verify_file
from tests.support.client import a_request
from tests.support.probing import needs_a_probe


@pytest.mark.parametrize(
    ("found", "changes", "expected"),
    [
        (Played(1920, 1080, 6.0, False), {}, ()),
        (Played(1920, 1088, 6.04, True), {}, ()),
        (Played(1920, 1080, 6.0, True), {"generate_audio": True}, ()),
        (Played(1920, 1080, 6.0, False), {"generate_audio": True}, ("has no sound",)),
        (Played(1080, 1920, 6.0, False), {"aspect_ratio": "9:16"}, ()),
        (
            Played(1080, 1920, 4.0, False),
            {},
            ("plays 4.0 s instead of 6 s", "is 1080 x 1920 pixels instead of 1920 x 1080"),
        ),
    ],
)
def test_a_video_is_held_against_its_request(
    found: Played, changes: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert mismatches(found, a_request(**changes)) == expected


@needs_a_probe
def test_what_cannot_be_played_is_said_and_nothing_is_raised(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    for content in (b"", b"\0\0\0\x18ftypisom" + bytes(100)):
        path.write_bytes(content)
        (mismatch,) = verify_file(path, a_request())
        assert mismatch.startswith("cannot be played: ")
    assert verify_file(tmp_path / "missing.mp4", a_request())[0].startswith("cannot be played")
    assert verify_file(path, ImageGenerate(prompt="a kite")) == ()


def test_a_mode_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="content, probe"):
        check_verify("hash")
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert check_verify("content") == "content"
    with pytest.raises(ConfigurationError, match="PyAV"):
        check_verify("probe")
