"""Images are made to fit: the arithmetic, then real files of every kind of trouble."""

from pathlib import Path
from typing import Any

import pytest

from keevx_async.errors import ConfigurationError, UploadError
from keevx_async.models.advice import differs
from keevx_async.transfer import fitting
from keevx_async.transfer.fitting import Fit, check_fit, fit_image, target_size

Image = pytest.importorskip("PIL.Image")
TAKEN = ("JPEG", "PNG", "WebP")


@pytest.mark.parametrize(
    ("size", "fit", "ratio", "expected"),
    [
        ((1600, 1200), "crop", "16:9", (1600, 900)),
        ((1600, 1200), "pad", "16:9", (2133, 1200)),
        ((1600, 1200), "crop", "9:16", (675, 1200)),
        ((1600, 1200), "pad", "9:16", (1600, 2844)),
        ((1920, 1080), "crop", "16:9", (1920, 1080)),
        ((1366, 768), "pad", "16:9", (1366, 768)),
        ((10, 4000), "crop", "16:9", (10, 6)),
        ((1, 4000), "crop", "16:9", (1, 1)),
        ((1600, 1200), "crop", None, (1600, 1200)),
    ],
)
def test_the_size_that_fits(
    size: tuple[int, int], fit: Fit, ratio: str | None, expected: tuple[int, int]
) -> None:
    assert target_size(size, fit, ratio) == expected


def fitted(path: Path, ratio: str | None = "16:9", fit: Fit = "crop") -> Any:
    out = path.parent / "out"
    out.mkdir(exist_ok=True)
    before = path.read_bytes()
    made = fit_image(path, fit, ratio, TAKEN, out)
    assert path.read_bytes() == before
    if made is None:
        return None
    with Image.open(made) as image:
        image.load()
        return image


def saved(path: Path, image: Any, **ways: Any) -> Path:
    image.save(path, **ways)
    return path


def test_an_image_that_fits_is_sent_as_it_is(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.webp"):
        assert fitted(saved(tmp_path / name, Image.new("RGB", (160, 90)))) is None


def test_a_photo_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = Image.new("RGB", (90, 160), "navy")
    photo.paste("white", (0, 0, 45, 160))  # its left half is up, once it is turned
    made = fitted(saved(tmp_path / "phone.jpg", photo, exif=exif, quality=95))
    assert made.size == (160, 90)
    assert made.getpixel((80, 10))[0] > 200 > made.getpixel((80, 80))[0]
    assert 0x0112 not in made.getexif()


@pytest.mark.parametrize("format", ["TIFF", "BMP", "AVIF", "HEIF"])
def test_other_formats_are_converted_whatever_their_name(tmp_path: Path, format: str) -> None:
    if format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    made = fitted(saved(tmp_path / "a.jpg", Image.new("RGB", (160, 90), "teal"), format=format))
    assert (made.format, made.size, made.mode) == ("JPEG", (160, 90), "RGB")


def test_a_large_file_shrinks_until_it_is_small_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "MAX_UPLOAD", 30_000)
    noise = Image.effect_noise((640, 360), 100)
    made = fitted(saved(tmp_path / "large.png", noise))
    assert not differs(made.width / made.height, 16 / 9)
    assert made.width < 640
    assert (tmp_path / "out" / "large.jpg").stat().st_size <= 30_000


def test_what_is_transparent_stays_so(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (400, 300), (255, 0, 0, 100))
    assert fitted(saved(tmp_path / "clear.png", clear)).mode == "RGBA"
    opaque = Image.new("RGBA", (400, 300), (255, 0, 0, 255))
    assert fitted(saved(tmp_path / "opaque.png", opaque)).format == "JPEG"


def test_the_bars_are_black(tmp_path: Path) -> None:
    made = fitted(saved(tmp_path / "a.png", Image.new("RGB", (400, 400), "white")), fit="pad")
    assert made.size == (711, 400)
    assert made.getpixel((5, 200)) == (0, 0, 0)
    assert made.getpixel((355, 200))[0] > 250


def test_the_same_image_makes_the_same_bytes(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.effect_noise((400, 400), 50))
    bytes_made: list[bytes] = []
    for number in range(2):
        out = tmp_path / str(number)
        out.mkdir()
        made = fit_image(path, "crop", "16:9", TAKEN, out)
        assert made is not None
        bytes_made.append(made.read_bytes())
    assert bytes_made[0] == bytes_made[1]


def test_what_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tiff", Image.effect_noise((400, 400), 50))
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(UploadError, match=r"a\.tiff cannot be decoded"):
        fitted(path)


def test_an_image_of_a_billion_pixels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "MAX_PIXELS", 10_000)
    with pytest.raises(UploadError, match="200 x 200 pixels"):
        fitted(saved(tmp_path / "a.png", Image.new("RGB", (200, 200))))


def test_a_mode_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="none, crop, pad"):
        check_fit("stretch")
    monkeypatch.setattr(fitting, "find_spec", lambda name: None)
    assert check_fit("none") == "none"
    with pytest.raises(ConfigurationError, match="Pillow"):
        check_fit("crop")
