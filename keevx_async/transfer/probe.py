"""Check whether a video matches its request: duration, size and sound, as a player sees them.

Uses PyAV (the ``probe`` extra), or else ``ffprobe`` if it is on the path. Both read only the
container's metadata; no frame is decoded. For an object in storage, PyAV reads only a few ranges.
ffprobe is not used for objects, because it would need a signed URL as an argument, and every user
of the machine can see a program's arguments.
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
"""Tolerated difference in duration, in seconds: video ends on a whole frame, and sound on a whole
packet."""
PIXELS = 0.02
"""Tolerated difference in width or height, as a fraction: encoders round to whole blocks (1080 to
1088)."""
TIMEOUT = 60.0
"""ffprobe's timeout for a local file, in seconds."""


@frozen
class Played:
    """The properties of a video as a player sees them.

    Attributes:
        width: the stored width, in pixels.
        height: the stored height, in pixels.
        seconds: the duration, in seconds.
        sound: whether the video has a sound track.
    """

    width: int
    height: int
    seconds: float
    sound: bool


class UnplayableError(Exception):
    """A file cannot be played as a video."""


def check_verify(verify: object) -> Verify:
    """Return ``verify`` if it is a valid mode and its dependencies are installed.

    Raises:
        ConfigurationError: the mode is invalid, or neither PyAV nor ffprobe is installed.
    """
    if verify not in VERIFIES:
        raise ConfigurationError(f"verify must be one of {', '.join(VERIFIES)} (got {verify!r})")
    if verify == "probe" and find_spec("av") is None and shutil.which("ffprobe") is None:
        raise ConfigurationError(
            "verify='probe' needs PyAV, or ffprobe on the PATH",
            hint="pip install 'keevx_async[probe]'",
        )
    return "probe" if verify == "probe" else "content"


def can_probe(path: PurePath) -> bool:
    """Return whether a result at this path can be probed; an object in storage needs PyAV."""
    return not isinstance(path, ObjectPath) or find_spec("av") is not None


def probe(path: PurePath) -> Played:
    """Return a video's properties. Blocks: call it in a thread.

    Args:
        path: a file or an object for which ``can_probe`` is true.

    Raises:
        UnplayableError: the file cannot be opened, or has no video track.
        DownloadError: the object could not be read from storage.
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
                raise UnplayableError("it has no video track")
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
            raise UnplayableError("it has no video track")
        picture = played["streams"][kinds.index("video")]
        seconds = float(played["format"].get("duration", 0))
        return Played(picture["width"], picture["height"], seconds, "audio" in kinds)
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        raise UnplayableError(f"ffprobe: {error}") from error


def verify_file(path: PurePath, request: Request) -> tuple[str, ...]:
    """Return the differences between a downloaded video and its request. Blocks; never raises.

    Args:
        path: the file or object.
        request: the video's request; only an ``ImageToVideo`` specifies properties to compare.
    """
    if not isinstance(request, ImageToVideo):
        return ()
    try:
        return mismatches(probe(path), request)
    except UnplayableError as error:
        return (f"cannot be played: {error}",)
    except DownloadError as error:  # the object is complete: that was verified when it was sent
        return (f"cannot be probed: {error}",)


def mismatches(played: Played, request: ImageToVideo) -> tuple[str, ...]:
    """Return the differences between a video and its request, one phrase each.

    1. The video's duration differs by more than ``SECONDS``.
    2. Its size in pixels differs by more than ``PIXELS``. Unknown resolutions are not checked.
    3. It has no sound although sound was requested. Sound that was not requested is accepted.
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
