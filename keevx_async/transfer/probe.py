"""Whether a video is what was asked for: its duration, pixels and sound, as a player finds them.

Uses PyAV (the extra ``probe``), or ``ffprobe`` where that is on the path. Both are asked for what
the container says; no frame is decoded. Of an object in storage PyAV reads a few ranges; ffprobe
would need a signed URL among its arguments, where every user of the machine sees it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.util import find_spec
from io import RawIOBase
from pathlib import PurePath
from typing import Any, Literal

from attrs import frozen

from ..errors import ConfigurationError, DownloadError
from ..models.image_to_video import ImageToVideo
from ..models.object_path import ObjectPath
from ..models.request import Request
from ..models.rules import SIDES
from .object_storage import open_object

Verify = Literal["content", "probe"]
VERIFIES = ("content", "probe")
SECONDS = 0.5
"""By how much a duration may differ: encoders end on whole frames, and sound on whole packets."""
PIXELS = 0.02
"""By how much a side may differ, as a share: encoders round to whole blocks, 1080 to 1088."""
TIMEOUT = 60.0
"""Seconds that ffprobe may take for a local file."""


@frozen
class Played:
    """What a player finds in a video.

    Attributes:
        width: in pixels, as stored.
        height: likewise.
        seconds: how long it plays.
        sound: whether it has a sound track.
    """

    width: int
    height: int
    seconds: float
    sound: bool


class UnplayableError(Exception):
    """A file is no video that can be played."""


def check_verify(verify: object) -> Verify:
    """Return ``verify`` if it is a valid mode and its dependencies are installed.

    Raises:
        ConfigurationError: the mode is invalid, or neither PyAV nor ffprobe is installed.
    """
    if verify not in VERIFIES:
        raise ConfigurationError(f"verify must be one of {', '.join(VERIFIES)} (got {verify!r})")
    if verify == "probe" and find_spec("av") is None and shutil.which("ffprobe") is None:
        raise ConfigurationError(
            "verify='probe' needs PyAV, or ffprobe on the path",
            hint="pip install 'keevx_async[probe]'",
        )
    return "probe" if verify == "probe" else "content"


def can_probe(path: PurePath) -> bool:
    """Return whether a result can be probed where it is: an object needs PyAV."""
    return not isinstance(path, ObjectPath) or find_spec("av") is not None


def probe(path: PurePath) -> Played:
    """Return what a player finds in a video. Blocks: call it in a thread.

    Args:
        path: the path of a file or of an object, for which ``can_probe`` is true.

    Raises:
        UnplayableError: it cannot be opened, or has no picture.
        DownloadError: storage cannot be asked.
    """
    if isinstance(path, ObjectPath):
        return _by_av(open_object(path))
    return _by_av(str(path)) if find_spec("av") is not None else _by_ffprobe(path)


def _by_av(source: str | RawIOBase) -> Played:
    import av
    from av.error import FFmpegError

    try:
        with av.open(source, "r") as file:
            if not file.streams.video:
                raise UnplayableError("it has no picture")
            picture = file.streams.video[0]
            seconds = (file.duration or 0) / 1_000_000  # av.time_base
            return Played(picture.width, picture.height, seconds, bool(file.streams.audio))
    except (FFmpegError, OSError) as error:
        raise UnplayableError(error.strerror or str(error)) from error


def _by_ffprobe(path: PurePath) -> Played:
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", "-show_format"]
    try:
        done = subprocess.run(  # noqa: S603 - no shell; the path cannot be an option after file:
            [*command, f"file:{path}"], capture_output=True, timeout=TIMEOUT, check=False
        )
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip().rpartition(": ")[2]
            raise UnplayableError(reason or f"ffprobe exited with status {done.returncode}")
        played: dict[str, Any] = json.loads(done.stdout)
        kinds = [stream["codec_type"] for stream in played["streams"]]
        if "video" not in kinds:
            raise UnplayableError("it has no picture")
        picture = played["streams"][kinds.index("video")]
        seconds = float(played["format"].get("duration", 0))
        return Played(picture["width"], picture["height"], seconds, "audio" in kinds)
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        raise UnplayableError(f"ffprobe: {error}") from error


def verify_file(path: PurePath, request: Request) -> tuple[str, ...]:
    """Return how a downloaded video differs from what was asked for. Blocks, and raises nothing.

    Args:
        path: the file, or the object.
        request: what made it; only an ``ImageToVideo`` says what its video is like.
    """
    if not isinstance(request, ImageToVideo):
        return ()
    try:
        return mismatches(probe(path), request)
    except UnplayableError as error:
        return (f"cannot be played: {error}",)
    except DownloadError as error:  # it is there, and whole: that was proven when it was sent
        return (f"cannot be probed: {error}",)


def mismatches(played: Played, request: ImageToVideo) -> tuple[str, ...]:
    """Return how a video differs from its request, a sentence each.

    1. It is shorter or longer, by more than ``SECONDS``.
    2. It has other pixels, by more than ``PIXELS``; not judged for a resolution that is unknown.
    3. It has no sound, and was to have some. Sound that was not asked for is no fault.
    """
    differences: list[str] = []
    if abs(played.seconds - request.duration) > SECONDS:
        differences.append(f"plays {played.seconds:.1f} s instead of {request.duration} s")
    if request.aspect_resolution in SIDES:
        sides = SIDES[request.aspect_resolution]
        width, height = sides if request.aspect_ratio == "16:9" else sides[::-1]
        if max(abs(played.width / width - 1), abs(played.height / height - 1)) > PIXELS:
            differences.append(
                f"is {played.width} x {played.height} pixels instead of {width} x {height}"
            )
    if request.generate_audio and not played.sound:
        differences.append("has no sound")
    return tuple(differences)
