"""What a downloaded file is: by the type its host declares, and by its first bytes. Pure."""

from __future__ import annotations

import codecs
import re

HEAD = 4096
"""Bytes of a file that are enough to tell what it is."""

VIDEO, IMAGE, CAPTION = "video", "image", "caption"

# ISO/IEC 14496-12, 4.2: a box's length, then its type. An MP4 begins with `ftyp`, an older
# QuickTime file may begin with one of the others. AVIF and HEIC are such files too, by brand.
_BOX = re.compile(
    rb".{4}(?:ftyp(?P<brand>.{4})|moov|mdat|free|skip|wide|pnot|styp|moof|sidx|emsg)", re.DOTALL
)
_IMAGE_BRANDS = frozenset({b"avif", b"avis", b"heic", b"heix", b"heif", b"mif1", b"msf1"})
_VIDEOS = re.compile(
    rb"\x1a\x45\xdf\xa3"  # Matroska, WebM (EBML)
    rb"|RIFF.{4}AVI "
    rb"|\x00\x00\x01[\xba\xb3]"  # MPEG program stream
    rb"|\x47.{187}\x47",  # MPEG transport stream
    re.DOTALL,
)
_IMAGES = re.compile(
    rb"\x89PNG\r\n\x1a\n"
    rb"|\xff\xd8\xff"  # JPEG
    rb"|GIF8[79]a"
    rb"|RIFF.{4}WEBP"
    rb"|BM.{4}\0\0\0\0",  # BMP, its reserved fields included: "BM" alone is text, too
    re.DOTALL,
)
_CAPTIONS = re.compile(
    r"WEBVTT"
    r"|(?:(?:;|!:).*\n\s*)*\[(?:Script Info|V4\+? Styles|Events|Fonts|Graphics)\]"  # ASS, SSA
    r"|(?:\d+[ \t]*\r?\n\s*)?\d+:\d\d:\d\d[,.]\d{1,3}[ \t]*-->",  # SRT
    re.IGNORECASE,
)
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def identify(head: bytes) -> str | None:
    """Return ``video``, ``image`` or ``caption`` by a file's first bytes, None for all else.

    Videos are MP4, QuickTime, WebM, Matroska, AVI and MPEG; images PNG, JPEG, WebP, GIF, BMP,
    AVIF and HEIC; captions ASS, SSA, SRT and WebVTT in UTF-8, UTF-16 or what extends ASCII.

    Args:
        head: the first ``HEAD`` bytes, or all there are.
    """
    if box := _BOX.match(head):
        return IMAGE if box["brand"] in _IMAGE_BRANDS else VIDEO
    if _IMAGES.match(head):
        return IMAGE
    if _VIDEOS.match(head):
        return VIDEO
    encoding = "utf-16" if head.startswith(_UTF_16) else "utf-8-sig"
    text = head.decode(encoding, "replace").lstrip()
    return CAPTION if _CAPTIONS.match(text) else None


def check_type(declared: str, expected: str | None) -> str | None:
    """Return what is wrong with a Content-Type, None if a result may be declared so.

    Pages, JSON and XML are never results. Other text may be captions, never a video or an
    image. Everything else is let through, for hosts declare videos as anything; the first bytes
    decide.

    Args:
        declared: the header, empty if there is none.
        expected: ``video``, ``image`` or ``caption``; None for any of them.
    """
    kind = declared.partition(";")[0].strip().lower()
    is_document = kind.endswith(("html", "json", "/xml", "+xml"))
    if is_document or (kind.startswith("text/") and expected in (VIDEO, IMAGE)):
        return f"it answered with {kind[:80]} instead of {_named(expected)}"
    return None


def check_content(head: bytes, declared: str, expected: str | None) -> str | None:
    """Return what is wrong with a whole file, None if it is what it should be.

    Args:
        head: its first ``HEAD`` bytes, or all there are.
        declared: as of ``check_type``.
        expected: as of ``check_type``.
    """
    if not head:
        return "the file is empty"
    found = identify(head)
    if found is None or expected not in (None, found):
        return f"its first bytes are not those of {_named(expected)}"
    return check_type(declared, found)


def _named(expected: str | None) -> str:
    return {VIDEO: "a video", IMAGE: "an image", CAPTION: "captions"}.get(
        expected or "", "a video, an image or captions"
    )
