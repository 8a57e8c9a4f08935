"""Names of results: every script, composed, no device of Windows, and such as can be written."""

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keevx_async import Outcome, Task
from keevx_async.transfer.output_paths import OutputNames
from keevx_async.transfer.safe_names import MAX_NAME_BYTES, safe_name
from tests.support.client import a_request

TASK = Task(task_id="i2v-7", status="SUCCEEDED", video_url="https://cdn.example/a/b.mp4")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("кот-1", "кот-1"),
        ("猫の動画", "猫の動画"),
        ("हिन्दी", "हिन्दी"),  # its vowel signs are marks
        ("ไทยนี้", "ไทยนี้"),
        ("עִבְרִית", "עִבְרִית"),
        ("e\u0301te\u0301", "été"),
        ("한글", "한글"),
        ("٣½", "٣½"),
        ("a/b\\c:d*e?f", "a_b_c_d_e_f"),
        ("dog 🐶!", "dog _"),
        ("\u202egpj.exe", "_gpj.exe"),
        ("a\u200bb", "a_b"),
        ("a\ud800b", "a_b"),
        ("a\0b\nc", "a_b_c"),
        ("..", "result"),
        (" . ", "result"),
        (".hidden", "hidden"),
    ],
)
def test_letters_marks_and_digits_of_every_script_stay(name: str, safe: str) -> None:
    assert safe_name(name) == unicodedata.normalize("NFC", safe)


@pytest.mark.parametrize(
    "name",
    ["con", "CON", "Prn", "aux.mp4", "NUL.tar.gz", "nul .mp4", "com1", "COM9.mp4", "lpt0", "com¹"],
)
def test_a_name_of_a_device_is_avoided_on_every_system(name: str) -> None:
    assert safe_name(name) == f"_{name}"


@pytest.mark.parametrize(
    "name", ["console", "auxiliary.mp4", "com", "com10", "lpt-1", "xcon", "nulls"]
)
def test_what_only_looks_like_a_device_stays(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("template", "index", "key", "expected"),
    [
        ("out/{key}", 1, "aux", "out/_aux.mp4"),
        ("out/{key}/{task_id}", 1, "nul", "out/_nul/i2v-7.mp4"),
        ("out/com{index}/{task_id}", 3, "k", "out/_com3/i2v-7.mp4"),
        ("out/lpt{index}", 3, "k", "out/_lpt3.mp4"),
        ("aux/{key}", 1, "k", "aux/k.mp4"),  # the user's own folder
    ],
)
def test_no_template_makes_a_device(template: str, index: int, key: str, expected: str) -> None:
    with OutputNames(template).name(TASK, Outcome(index, a_request(), key), set()) as (path, *_):
        assert path == Path(expected)


@given(st.text())
def test_any_text_becomes_a_name_that_can_be_written(text: str) -> None:
    name = safe_name(text)
    assert name
    assert len(os.fsencode(name)) <= MAX_NAME_BYTES + 1
    assert not set(name) & set('/\\:*?"<>|\0')
    assert safe_name(name) == name
    assert name == name.strip(" .")


IN_ASCII = """
import asyncio, sys, tempfile
from pathlib import Path
from keevx_async import DownloadError, ImageToVideo, Keevx
from keevx_async.testing import Emulator

REQUESTS = [
    ImageToVideo(model="V", prompt=prompt, image_url="https://example.com/a.jpg",
                 aspect_ratio="16:9", aspect_resolution="1080p", duration=6)
    for prompt in ("one", "two")
]
keys = iter(["\\u043a\\u043e\\u0442-\\u00e9", "\\u043f\\u0435\\u0441-\\u00e9"])

async def main():
    folder = Path(tempfile.mkdtemp())
    async with Emulator(seconds=0.01) as emulator, Keevx("k", base_url=emulator.url) as keevx:
        named = dict(download=folder / "{key}", key=lambda _: next(keys))
        fan = await keevx.generate_many(REQUESTS, **named)
        fan.raise_for_errors()
        names = sorted(path.name for outcome in fan.outcomes for path in outcome.paths)
        try:
            await keevx.download(fan.outcomes[0].tasks[0], folder / "\\u043a\\u043e\\u0442.mp4")
        except DownloadError as error:
            print(ascii(str(error)))
    print(sys.getfilesystemencoding(), *map(ascii, names))

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode there")
@pytest.mark.skipif(
    not sys.prefix.isascii(),
    reason="an ASCII locale cannot start a Python that lies in this folder",
)
def test_where_file_names_are_ascii_a_result_has_a_name_that_can_be_written() -> None:
    """A paid video comes home under another name; one that the user chose is refused in words."""
    bare = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", IN_ASCII],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **bare},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    refused, names = done.stdout.splitlines()
    assert "it is not a valid file name" in refused
    assert "PYTHONUTF8=1" in refused
    assert names == "ascii '_-_-2.mp4' '_-_.mp4'"
