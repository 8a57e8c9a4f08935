"""What a player makes of a file: by PyAV, or by ffprobe, whichever there is."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

HAS_AV = find_spec("av") is not None
FFPROBE = shutil.which("ffprobe")
needs_a_probe = pytest.mark.skipif(
    not HAS_AV and FFPROBE is None, reason="needs PyAV or ffprobe to play the files"
)


class Played(NamedTuple):
    width: int
    height: int
    seconds: float
    frames: int
    sound: bool
    title: str


def play(path: Path) -> Played:
    """Decode every frame of a video."""
    if not HAS_AV:
        return by_ffprobe(path)
    import av

    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        frames = sum(1 for _ in file.decode(stream))
        seconds = (file.duration or 0) / 1_000_000
        title = file.metadata.get("title", "")
        sound = bool(file.streams.audio)
        return Played(stream.width, stream.height, seconds, frames, sound, title)


def by_ffprobe(path: Path) -> Played:
    assert FFPROBE is not None
    command = [FFPROBE, "-v", "error", "-of", "json", "-count_frames", "-show_streams"]
    done = subprocess.run(
        [*command, "-show_format", str(path)], capture_output=True, check=True, text=True
    )
    assert done.stderr == ""
    found = json.loads(done.stdout)
    (video,) = (one for one in found["streams"] if one["codec_type"] == "video")
    return Played(
        video["width"],
        video["height"],
        float(found["format"]["duration"]),
        int(video["nb_read_frames"]),
        any(one["codec_type"] == "audio" for one in found["streams"]),
        found["format"].get("tags", {}).get("title", ""),
    )
