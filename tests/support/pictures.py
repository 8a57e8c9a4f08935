"""Images as people have them: sideways, mislabelled, too large, of the wrong ratio."""

from __future__ import annotations

import colorsys
import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIDEWAYS = 6


def drawn(width: int, height: int, label: str, hue: float = 0.55) -> Image.Image:
    """A scene with an up and a middle: an arrow, a circle, a frame, and what it is."""
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.5, 0.7))
    image = Image.new("RGB", (width, height), (red, green, blue))
    draw = ImageDraw.Draw(image)
    short = min(width, height)
    x, y, unit = width // 2, height // 2, short // 8
    line = max(2, short // 60)
    draw.rectangle((line, line, width - line, height - line), outline="white", width=line)
    draw.ellipse(
        (x - 3 * unit, y - 3 * unit, x + 3 * unit, y + 3 * unit), outline="white", width=line
    )
    draw.polygon([(x, y - 2 * unit), (x - unit, y - unit // 2), (x + unit, y - unit // 2)], "white")
    font = ImageFont.load_default(max(10, unit * 2 // 3))
    draw.text((x, y + unit), label, "white", font, anchor="mm")
    return image


def fifty(folder: Path) -> list[dict[str, str]]:
    """Write 50 images, and return the row of each: mostly fine ones, and each kind of trouble."""
    rows: list[dict[str, str]] = []
    made = 0

    def save(image: Image.Image, name: str, **ways: object) -> str:
        nonlocal made
        made += 1
        image.save(folder / name, **ways)  # type: ignore[arg-type]
        return name

    def row(start: str, end: str | None = None) -> None:
        number = len(rows)
        prompt = f"take {number}" if number != 5 else 'A man says hello. Speak "hello there"'
        rows.append(
            {"prompt": prompt, "image_url": start} | ({"end_image_url": end} if end else {})
        )

    # 1. A phone's photo, stored sideways.
    exif = Image.Exif()
    exif[0x0112] = SIDEWAYS
    phone = drawn(1920, 1080, "phone", 0.1).transpose(Image.Transpose.ROTATE_90)
    row(save(phone, "phone.jpg", exif=exif, quality=90))
    # 2. A HEIC that was called .jpg.
    from pillow_heif import register_heif_opener

    register_heif_opener()
    row(save(drawn(1920, 1080, "heic", 0.2), "heic.jpg", format="HEIF"))
    # 3. A PNG of 40 MB: noise does not compress.
    noise = Image.frombytes("RGB", (4800, 2700), random.Random(1).randbytes(4800 * 2700 * 3))
    noise.paste(drawn(3600, 2000, "40 MB", 0.3), (600, 350))
    noise.putpixel((0, 0), (0, 0, 0))
    row(save(noise, "large.png", compress_level=0))
    # 4. 4:3 for 16:9.
    row(save(drawn(1600, 1200, "4:3", 0.4), "four-three.jpg"))
    # 5. Two frames that do not match.
    start = save(drawn(1920, 1080, "start", 0.7), "start.jpg")
    row(start, save(drawn(1200, 1500, "end", 0.75), "end.webp"))
    # 6. The others: right, but one too small, a TIFF, a BMP, and a transparent PNG.
    row(save(drawn(640, 360, "small", 0.8), "small.png"))
    row(save(drawn(1920, 1080, "tiff", 0.85), "scan.tiff"))
    row(save(drawn(1920, 1080, "bmp", 0.9), "old.bmp"))
    transparent = drawn(1500, 1500, "alpha", 0.95).convert("RGBA")
    transparent.putalpha(drawn(1500, 1500, "").convert("L"))
    row(save(transparent, "alpha.png"))
    while made < 50:
        row(save(drawn(1920, 1080, f"fine {made}", made / 50), f"fine-{made}.jpg", quality=80))
    return rows
