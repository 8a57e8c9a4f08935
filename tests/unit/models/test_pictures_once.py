"""A picture that many requests share is read once."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keevx_async.models import pictures
from keevx_async.models.pictures import look_at

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\x80\0\0\x01\x68\x08\x02" + bytes(16)


def test_threads_that_look_at_one_file_at_the_same_time_read_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    reads: list[int] = []
    met = threading.Event()

    def read_header(file: object) -> None:
        reads.append(1)
        met.wait(0.05)  # the others have come meanwhile

    monkeypatch.setattr(pictures, "read_header", read_header)
    start = threading.Barrier(8)

    def look(_: int) -> object:
        start.wait()
        return look_at(path)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(look, range(8))) == [None] * 8
    assert len(reads) == 1


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    first = look_at(path)
    path.write_bytes(PNG.replace(b"\x02\x80", b"\x05\x00"))
    os.utime(path, ns=(1, 1))
    second = look_at(path)
    assert first is not None
    assert second is not None
    assert (first.width, second.width) == (640, 1280)
