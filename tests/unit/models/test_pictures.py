"""What a local image is, by its first bytes, and what a request warns of."""

import io
from pathlib import Path
from typing import Any

import pytest

from keevx_async import ImageGenerate, ImageToVideo
from keevx_async.models.pictures import Picture, look_at, read_header

Image = pytest.importorskip("PIL.Image")
FORMATS: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("WEBP", {"lossless": False}),
    ("WEBP", {"lossless": True}),
    ("WEBP", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}),  # the extended header
    ("BMP", {}),
    ("GIF", {}),
]


def file_of(format: str, size: tuple[int, int] = (321, 123), **ways: Any) -> io.BytesIO:
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, format, **ways)
    file.seek(0)
    return file


@pytest.mark.parametrize(("format", "ways"), FORMATS)
def test_the_size_is_read_from_the_header(format: str, ways: dict[str, Any]) -> None:
    assert read_header(file_of(format, **ways)) == Picture(321, 123)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_orientation_of_a_jpeg_turns_it(orientation: int, order: str) -> None:
    exif = Image.Exif()
    exif.endian = order
    exif[0x010F] = "a maker, which comes first"
    exif[0x0112] = orientation
    picture = read_header(file_of("JPEG", exif=exif))
    assert picture == Picture(321, 123, orientation)
    assert picture.shown == ((123, 321) if orientation >= 5 else (321, 123))


@pytest.mark.parametrize(("format", "ways"), FORMATS)
def test_any_beginning_of_a_file_is_read_without_an_error(
    format: str, ways: dict[str, Any]
) -> None:
    data = file_of(format, **ways).getvalue()
    for length in range(min(len(data), 700)):
        assert read_header(io.BytesIO(data[:length])) in (None, Picture(321, 123))


@pytest.mark.parametrize("data", [b"", b"BM" + bytes(30), b"\xff\xd8\xff\xff" + b"\xff" * 50])
def test_what_has_no_size_is_unknown(data: bytes) -> None:
    assert read_header(io.BytesIO(data)) is None


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    data = file_of("PNG", (900, 900)).getvalue()
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 0xFF
    path.write_bytes(damaged)
    found = look_at(path)
    assert found is not None
    assert found.flaw
    assert look_at(tmp_path / "none.png") is None
    assert look_at(Path("nul\0")) is None


def saved(folder: Path, name: str, width: int, height: int, **ways: Any) -> Path:
    Image.new("RGB", (width, height)).save(folder / name, **ways)
    return folder / name


def warned(**fields: Any) -> list[tuple[str, str]]:
    ways: dict[str, Any] = {
        "model": "V",
        "prompt": "a dog",
        "aspect_ratio": "16:9",
        "aspect_resolution": "1080p",
        "duration": 8,
    }
    found = ImageToVideo(**ways | fields).warnings()
    return [(each.field, each.rule) for each in found]


def test_a_request_warns_of_its_frames(tmp_path: Path) -> None:
    good = saved(tmp_path, "good.png", 1920, 1080)
    nearly = saved(tmp_path, "nearly.png", 1920, 1088)
    square = saved(tmp_path, "square.png", 2000, 2000)
    small = saved(tmp_path, "small.png", 1280, 720)
    assert warned(image_url=good, end_image_url=nearly) == []
    assert warned(image_url=square) == [("image_url", "ratio")]
    assert warned(image_url=good, aspect_ratio="9:16")[0] == ("image_url", "ratio")
    assert warned(image_url=small) == [("image_url", "small")]
    assert warned(image_url=small, aspect_resolution="720p") == []
    assert warned(image_url=good, end_image_url=square) == [
        ("end_image_url", "ratio"),
        ("end_image_url", "ends"),
    ]
    # References are no frames, and what is not on disk cannot be judged.
    assert warned(image_url=good, reference_images=[square, small]) == []
    assert warned(image_url="https://example.com/square.png") == []
    assert warned(image_url=tmp_path / "missing.png") == []


def test_a_sideways_photo_is_warned_of_as_it_is_shown(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    phone = saved(tmp_path, "phone.jpg", 1080, 1920, exif=exif)
    assert warned(image_url=phone) == [("image_url", "orientation")]
    request = ImageGenerate(prompt="a kite", reference_images=[phone])
    assert [each.rule for each in request.warnings()] == ["orientation"]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ('He waves. Speak "hello"', True),
        ("speak: “hello”", True),
        ("They speak quietly", False),
        ('The bespeak "x"', False),
    ],
)
def test_narration_without_sound_is_warned_of(prompt: str, expected: bool) -> None:
    url = "https://example.com/a.png"
    assert bool(warned(prompt=prompt, image_url=url)) is expected
    assert not warned(prompt=prompt, image_url=url, generate_audio=True)
