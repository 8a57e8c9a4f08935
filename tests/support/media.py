"""Bodies of downloads."""

from pathlib import Path

FTYP = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42"  # an MP4 begins so


BODY = FTYP + (bytes(range(256)) * 40)[len(FTYP) :]  # 10,240 bytes


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
