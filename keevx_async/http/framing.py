"""Reads an HTTP answer leniently from its raw bytes. Pure: no socket, no clock.

An answer to a paid create may hold task ids even where its framing is malformed or broke off,
and a strict parser drops it whole. This reads what did arrive and says whether all of it did.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

MAX_BODY = 2**20
"""Bytes of a decoded body that are read. Envelopes of this API are a few KB."""

_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})(?!\d)[^\n]*\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9a-fA-F]{1,16})[ \t]*(?:;[^\n]*)?\r?\n")
_CUT_SIZE = re.compile(rb"[0-9a-fA-F]{0,16}\r?")
_LENGTH = re.compile(r"[0-9]{1,18}")
_WITHOUT_BODY = frozenset({204, 304})
_SWITCHED = 101
_SLICE = 1024


class RawAnswer(NamedTuple):
    """An answer as its bytes have it: headers in order, the body still content-encoded.

    ``complete`` is False where the framing does not say that the whole body is there.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    complete: bool


def read_answer(raw: bytes) -> RawAnswer | None:
    """Return the first final answer in raw, or None if no header block of one has ended.

    Where both are given, ``Transfer-Encoding`` outweighs ``Content-Length`` (RFC 9112, 6.3).
    """
    start = 0
    while True:
        line = _STATUS_LINE.search(raw, start)
        # From the status line's own line break on, since there may be no header at all.
        end = line and _HEAD_END.search(raw, line.end() - 2)
        if not line or not end:
            return None
        status = int(line[1])
        if status >= 200 or status == _SWITCHED:
            break
        start = end.end()  # an interim answer, such as 100 or 103
    headers = tuple(_fields(raw[line.end() : end.start()]))
    body, complete = _body(status, headers, raw[end.end() :])
    # What stands before the answer belongs to something else: no answer to rely on.
    return RawAnswer(status, headers, body, complete and not raw[start : line.start()].strip())


def _fields(block: bytes) -> list[tuple[str, str]]:
    fields = (line.partition(b":") for line in block.split(b"\n"))
    return [
        (name.strip().decode("latin-1"), value.strip().decode("utf-8", "surrogateescape"))
        for name, colon, value in fields
        if colon and name.strip()
    ]


def _values(headers: tuple[tuple[str, str], ...], wanted: str) -> list[str]:
    return [value for name, value in headers if name.lower() == wanted]


def _body(status: int, headers: tuple[tuple[str, str], ...], rest: bytes) -> tuple[bytes, bool]:
    """Return the body and whether it is whole.

    1. No body belongs to the status.
    2. Chunked, and it does begin with a chunk: up to its last chunk.
    3. One length is given: so many bytes.
    4. Neither, or they make no sense: all there is, and who knows whether more was to come.
    """
    if status in _WITHOUT_BODY or status == _SWITCHED:
        return b"", True
    if "chunked" in ",".join(_values(headers, "transfer-encoding")).lower():
        joined = _joined(rest)
        if joined is not None:
            return joined
    lengths = {*_values(headers, "content-length")}
    if len(lengths) == 1 and _LENGTH.fullmatch(length := lengths.pop()):
        return rest[: int(length)], len(rest) >= int(length)
    return rest, False


def _joined(rest: bytes) -> tuple[bytes, bool] | None:
    """Return the chunks of a body and whether the last is among them; None if it has none."""
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
    left = rest[at:]  # what the body goes on with, unless it is the next size, cut off
    return b"".join(chunks) + (b"" if _CUT_SIZE.fullmatch(left) else left), False


def decode_body(body: bytes, content_encoding: str) -> tuple[bytes, str]:
    """Return body decoded, at most ``MAX_BODY`` bytes of it, and what is wrong with it, if any.

    A body that is not encoded as its header says is returned as it came.
    """
    codings = [one.strip().lower() for one in content_encoding.split(",")]
    wrong = ""
    for coding in reversed(codings):
        if coding in ("gzip", "x-gzip", "deflate"):
            body, whole = _inflated(body, coding)
            if not whole:
                wrong = f"the body is not whole {coding}"
        elif coding not in ("", "identity"):
            return body[:MAX_BODY], f"the body is encoded as {coding[:40]!r}"
    if len(body) > MAX_BODY:
        return body[:MAX_BODY], f"the body is longer than {MAX_BODY} bytes"
    return body, wrong


def _inflated(body: bytes, coding: str) -> tuple[bytes, bool]:
    """Return a gzip or deflate body inflated as far as it goes, and whether it ended.

    "deflate" comes with zlib's header (RFC 9110, 8.4.1.2) or, from some servers, without. Then
    nothing marks it, and JSON that is not encoded at all would inflate to rubbish.
    """
    ways = [zlib.MAX_WBITS | 32]
    if coding == "deflate" and not body.lstrip().startswith(b"{"):
        ways.append(-zlib.MAX_WBITS)
    for bits in ways:
        inflated, ended, failed = _inflated_by(body, bits, _SLICE)
        if failed:  # an error takes what its slice gave: then byte by byte
            inflated, ended, _ = _inflated_by(body, bits, 1)
        if inflated or ended:
            return inflated, ended or len(inflated) > MAX_BODY
    return body, not body


def _inflated_by(body: bytes, bits: int, step: int) -> tuple[bytes, bool, bool]:
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
