"""A part gets its final name whole, and only one."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from keevx_async.transfer.part_files import DownloadedFile, PartFile

VIDEO = b"\0\0\0\x18ftypmp42" + bytes(100)
DIGEST = hashlib.sha256(VIDEO).hexdigest()


class Answer:
    """A host's answer that brings the whole video."""

    status = 200
    content_length = len(VIDEO)

    def __init__(self) -> None:
        self.headers = {"Content-Type": "video/mp4"}

    @property
    def content(self) -> Any:
        return self

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        yield VIDEO


async def received(target: Path) -> PartFile:
    part = PartFile(target, "https://example.com/1.mp4")
    part.prepare(overwrite=False)
    await part.receive(Answer(), "video")  # type: ignore[arg-type]
    return part


def test_a_result_that_is_there_already_gets_no_second_copy_at_any_moment(
    tmp_path: Path,
) -> None:
    earlier, target = tmp_path / "1.mp4", tmp_path / "1-2.mp4"
    earlier.write_bytes(VIDEO)
    part = asyncio.run(received(target))

    def find_earlier(size: int, digest: str) -> Path | None:
        assert not target.exists(), "killed here, it would leave a copy"
        return earlier if (size, digest) == (len(VIDEO), DIGEST) else None

    assert part.finish(False, find_earlier) == DownloadedFile(earlier, len(VIDEO), DIGEST)
    assert [path.name for path in tmp_path.iterdir()] == ["1.mp4"]


def test_another_result_of_the_same_name_stays(tmp_path: Path) -> None:
    target = tmp_path / "1-2.mp4"
    (tmp_path / "1.mp4").write_bytes(b"paid for")
    part = asyncio.run(received(target))
    assert part.finish(False, lambda size, digest: None).path == target
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [VIDEO, b"paid for"]
