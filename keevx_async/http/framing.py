"""Parses an HTTP response leniently from its raw bytes. Pure: no socket, no clock.

A response to a paid create may contain task ids even if its framing is malformed or it is cut off.
A strict parser would drop such a response. This parser reads the bytes that arrived, and reports
whether the response is complete.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

MAX_BODY = 2**20
"""The maximum number of bytes to read from a decoded body. This API's envelopes are a few KB."""

_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})(?!\d)[^\n]*\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9a-fA-F]{1,16})[ \t]*(?:;[^\n]*)?\r?\n")
_PARTIAL_SIZE = re.compile(rb"[0-9a-fA-F]{0,16}\r?")
_LENGTH = re.compile(r"[0-9]{1,18}")
_WITHOUT_BODY = frozenset({204, 304})
_SWITCHED = 101
_SLICE = 1024
"""The number of bytes to inflate at a time."""


class RawAnswer(NamedTuple):
    """A response as it was sent.

    Attributes:
        status: the HTTP status.
        headers: the header names and values in order, including repeated headers.
        body: the body without chunk framing, still content-encoded.
        complete: False if the framing does not show that the whole body arrived.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    complete: bool


def read_answer(raw: bytes) -> RawAnswer | None:
    """Return the first final response in raw, or None until its header block is complete.

    Interim responses (1xx except 101) are skipped. If both headers are present,
    ``Transfer-Encoding`` takes precedence over ``Content-Length`` (RFC 9112, 6.3). Never raises:
    bytes that cannot be parsed as framing are treated as part of the body.

    Args:
        raw: every byte received on the connection since the request was sent.
    """
    start = 0
    while True:
        line = _STATUS_LINE.search(raw, start)
        # Start at the status line's own line break, since there may be no headers.
        end = line and _HEAD_END.search(raw, line.end() - 2)
        if not line or not end:
            return None
        status = int(line[1])
        if status >= 200 or status == _SWITCHED:
            break
        start = end.end()  # an interim response, such as 100 or 103
    fields = (field.partition(b":") for field in raw[line.end() : end.start()].split(b"\n"))
    headers = tuple(
        (name.strip().decode("latin-1"), value.strip().decode("utf-8", "surrogateescape"))
        for name, colon, value in fields
        if colon and name.strip()
    )
    body, complete = _body(status, headers, raw[end.end() :])
    # If other bytes precede the response, it may belong to another request.
    return RawAnswer(status, headers, body, complete and not raw[start : line.start()].strip())


def _values(headers: tuple[tuple[str, str], ...], wanted: str) -> list[str]:
    return [value for name, value in headers if name.lower() == wanted]


def _body(status: int, headers: tuple[tuple[str, str], ...], rest: bytes) -> tuple[bytes, bool]:
    # Return the body and whether it is complete. The first case that applies decides:
    # 1. The status does not allow a body: it is empty.
    # 2. It is chunked, and starts with a chunk: everything up to the last chunk.
    # 3. It has a single length: that many bytes.
    # 4. Otherwise, or if the framing cannot be parsed: everything, since the end is unknown.
    if status in _WITHOUT_BODY or status == _SWITCHED:
        return b"", True
    if "chunked" in ",".join(_values(headers, "transfer-encoding")).lower():
        chunks = _join_chunks(rest)
        if chunks is not None:
            return chunks
    lengths = {*_values(headers, "content-length")}
    if len(lengths) == 1 and _LENGTH.fullmatch(length := lengths.pop()):
        return rest[: int(length)], len(rest) >= int(length)
    return rest, False


def _join_chunks(rest: bytes) -> tuple[bytes, bool] | None:
    """Return the joined chunks and whether the last chunk arrived; None if there are no chunks."""
    chunks: list[bytes] = []
    at = 0
    while line := _CHUNK_SIZE.match(rest, at):
        size, at = int(line[1], 16), line.end()
        if size == 0:
            return b"".join(chunks), True
        chunks.append(rest[at : at + size])
        at += size
        at += len(rest[at : at + 2]) - len(rest[at : at + 2].lstrip(b"\r\n"))
    if not chunks:
        return None
    left = rest[at:]  # more of the body, unless it is the start of the next chunk's size
    return b"".join(chunks) + (b"" if _PARTIAL_SIZE.fullmatch(left) else left), False


def decode_body(body: bytes, content_encoding: str) -> tuple[bytes, str]:
    """Return a decoded body, truncated to ``MAX_BODY`` bytes, and a description of any problem.

    The description is "" if there is no problem. If the body is damaged, the part that can be
    inflated is returned. A body that is not encoded as its header says is returned unchanged.
    Never raises.

    Args:
        body: the body as it was sent.
        content_encoding: the header's value; "" if there was none.
    """
    codings = [coding.strip().lower() for coding in content_encoding.split(",")]
    wrong = ""
    for coding in reversed(codings):
        if coding in ("gzip", "x-gzip", "deflate"):
            body, whole = _inflate(body, coding)
            if not whole:
                wrong = f"the body is truncated or invalid {coding}"
        elif coding not in ("", "identity"):
            return body[:MAX_BODY], f"the body is encoded as {coding[:40]!r}"
    if len(body) > MAX_BODY:
        return body[:MAX_BODY], f"the body is longer than {MAX_BODY} bytes"
    return body, wrong


def _inflate(body: bytes, coding: str) -> tuple[bytes, bool]:
    """Inflate as much of a gzip or deflate body as possible; also return whether it is complete."""
    formats = [zlib.MAX_WBITS | 32]  # with a header, gzip's or zlib's
    # "deflate" has zlib's header (RFC 9110, 8.4.1.2), but some servers omit it. Then nothing marks
    # the format, and JSON that is not encoded at all would inflate to garbage.
    if coding == "deflate" and not body.lstrip().startswith(b"{"):
        formats.append(-zlib.MAX_WBITS)
    for bits in formats:
        inflated, ended, failed = _inflate_in_steps(body, bits, _SLICE)
        if failed:  # zlib drops the output of the failing slice, so read it byte by byte
            inflated, ended, _ = _inflate_in_steps(body, bits, 1)
        if inflated or ended:
            return inflated, ended or len(inflated) > MAX_BODY
    return body, not body


def _inflate_in_steps(body: bytes, bits: int, step: int) -> tuple[bytes, bool, bool]:
    # Inflate at most MAX_BODY + 1 bytes, since a small body may expand enormously.
    inflater, parts, size = zlib.decompressobj(bits), list[bytes](), 0
    try:
        for at in range(0, len(body), step):
            piece = body[at : at + step]
            while piece and size <= MAX_BODY:
                parts.append(inflater.decompress(piece, MAX_BODY + 1 - size))
                size += len(parts[-1])
                piece = inflater.unconsumed_tail
    except zlib.error:
        return b"".join(parts), False, True
    return b"".join(parts), inflater.eof, False
