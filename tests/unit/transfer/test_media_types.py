"""What a file is, by its declared type and its first bytes."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keevx_async.transfer.media_types import (
    CAPTION,
    FORMATS,
    HEAD,
    IMAGE,
    UPLOAD_FORMATS,
    VIDEO,
    check_content,
    check_type,
    identify,
)

MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"
SRT = b"1\r\n00:00:01,000 --> 00:00:02,500\r\nHello\r\n"
ASS = b"[Script Info]\nTitle: x\n"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
PAGE = b"<!DOCTYPE html><html>sign in</html>"


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (MP4, VIDEO),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", VIDEO),
        (b"\0\0\0\x08wide\0\0\x10\0mdat", VIDEO),
        (b"\0\0\x10\0moov\0\0\0\x6cmvhd", VIDEO),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81", VIDEO),
        (b"RIFF\x24\0\0\0AVI LIST", VIDEO),
        (b"\x47" + bytes(187) + b"\x47" + bytes(187), VIDEO),
        (PNG, IMAGE),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", IMAGE),
        (b"GIF89a\1\0\1\0", IMAGE),
        (b"RIFF\x1a\0\0\0WEBPVP8L", IMAGE),
        (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0", IMAGE),
        (b"\0\0\0\x1cftypavif\0\0\0\0", IMAGE),
        (ASS, CAPTION),
        (codecs.BOM_UTF8 + ASS, CAPTION),
        (codecs.BOM_UTF16_LE + ASS.decode().encode("utf-16-le"), CAPTION),
        (b"; made by Aegisub\r\n" + ASS, CAPTION),
        (b"[V4+ Styles]\nFormat: Name", CAPTION),
        (b"[Script Info]\nTitle: " + "视频".encode("gbk"), CAPTION),
        (SRT, CAPTION),
        (codecs.BOM_UTF8 + SRT, CAPTION),
        (b"\n\n" + SRT, CAPTION),
        (b"00:01.000 --> 00:02.000\nx", None),  # of WebVTT, without its first line
        (b"WEBVTT\n\n00:01.000 --> 00:02.000\nHi", CAPTION),
        (PAGE, None),
        (b'{"code":"AccessDenied"}', None),
        (b'[{"code":1}]', None),
        (b"<?xml version='1.0'?><Error/>", None),
        (b"<!-- 00:00:01,000 --> -->", None),
        (b"not found", None),
        (b"BM is what it is called, and no more", None),
        (b"\x1f\x8b\x08\0\0\0\0\0", None),
        (b"\0" * 100, None),
        (b"", None),
    ],
)
def test_first_bytes_show_what_a_file_is(head: bytes, found: str | None) -> None:
    media_type = identify(head)
    assert (media_type.media if media_type else None) == found


def test_each_format_has_a_name_of_its_own_and_uploads_a_suffix() -> None:
    names = [row.name for row in FORMATS]
    assert len(set(names)) == len(names)
    for row in FORMATS:
        assert bool(row.content_type) == bool(row.suffixes) == (row.name in UPLOAD_FORMATS)
        assert not row.content_type or row.content_type.split("/")[0] == row.media


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x18ftypheif\0\0\0\0", "HEIC"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0", "QuickTime"),
        (b"\0\0\0\x08free\0\0\x10\0mdat", "QuickTime"),
        (MP4, "MP4"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm", "WebM"),
        (codecs.BOM_UTF16_LE + "<html>".encode("utf-16-le"), "HTML"),
    ],
)
def test_formats_that_look_alike_are_distinguished(head: bytes, name: str) -> None:
    media_type = identify(head)
    assert media_type is not None
    assert media_type.name == name


@given(st.binary(max_size=HEAD))
def test_any_bytes_can_be_looked_at(head: bytes) -> None:
    media_type = identify(head)
    assert media_type is None or media_type.media in (None, VIDEO, IMAGE, CAPTION)
    assert isinstance(check_content(head, "", None), str | None)


@pytest.mark.parametrize(
    ("declared", "expected", "refused"),
    [
        ("", VIDEO, False),
        ("video/mp4", VIDEO, False),
        ("application/octet-stream", VIDEO, False),
        ("binary/octet-stream", IMAGE, False),
        ("image/png", VIDEO, False),  # hosts are often wrong: the bytes decide
        ("text/html; charset=utf-8", VIDEO, True),
        ("TEXT/HTML", None, True),
        ("text/html", CAPTION, True),
        ("application/xhtml+xml", None, True),
        ("application/json", None, True),
        ("application/problem+json", CAPTION, True),
        ("application/xml", None, True),
        ("text/xml", CAPTION, True),
        ("text/plain", VIDEO, True),
        ("text/plain", IMAGE, True),
        ("text/plain", CAPTION, False),
        ("text/x-ssa", CAPTION, False),
        ("text/vtt", None, False),
    ],
)
def test_pages_and_documents_are_not_results(
    declared: str, expected: str | None, refused: bool
) -> None:
    assert (check_type(declared, expected) is not None) is refused


@pytest.mark.parametrize(
    ("head", "declared", "expected", "wrong"),
    [
        (MP4, "video/mp4", VIDEO, None),
        (MP4, "image/png", None, None),
        (PNG, "", IMAGE, None),
        (SRT, "text/plain", None, None),
        (SRT, "application/octet-stream", CAPTION, None),
        (b"", "video/mp4", VIDEO, "empty"),
        (PNG, "video/mp4", VIDEO, "not those of a video"),
        (MP4, "image/png", IMAGE, "not those of an image"),
        (MP4, "text/plain", CAPTION, "not those of captions"),
        (MP4, "text/plain", None, "text/plain instead of a video"),
        (PAGE, "video/mp4", VIDEO, "not those of a video"),
        (PAGE, "video/mp4", None, "a video, an image or captions"),
    ],
)
def test_a_whole_file_is_what_was_expected(
    head: bytes, declared: str, expected: str | None, wrong: str | None
) -> None:
    found = check_content(head, declared, expected)
    assert found is None if wrong is None else found is not None and wrong in found
