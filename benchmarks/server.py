"""A small, fast server that accepts creates for Keevx and each peer's API. It is a raw asyncio
protocol, on uvloop if installed, so that benchmarks measure the client and not the server.

    python -m benchmarks.server [--limit 0:100,20:33] [--kind sliding] [--finished 20000]

It prints its port, and exits when its standard input ends. In addition to the APIs, it serves
``GET /-/counts``, ``GET /files/<bytes>/<name>`` and
``POST /-/limit?steps=0:100&kind=bucket&retry_after=yes``, which also resets the counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections import Counter
from typing import cast
from urllib.parse import parse_qs, urlsplit

from .clients.common import raise_file_limit
from .limits import KINDS, parse_schedule
from .shapes import ANSWERS, PREFIXES, status_answer

CHUNK = b"\0" * 65536
MP4 = b"\0\0\0\x0cftypisom"
WEBP = b"RIFF\0\0\0\0WEBP"
"""The first bytes of a small file, by which clients recognize its format."""
BIN = 0.25
"""The length of one entry in the timeline of counts, in seconds."""


class Ledger:
    """Counts requests and responses."""

    def __init__(self, steps: str, kind: str, retry_after: bool) -> None:
        self._schedule = parse_schedule(steps, kind)
        self._retry_after = retry_after
        self._start: float | None = None
        self.creates = 0
        self.refused = 0
        self.polls = 0
        self.timeline: Counter[tuple[int, bool]] = Counter()

    def create(self, now: float) -> float:
        """Count a create; return 0 if it is accepted, otherwise the seconds to wait."""
        wait = self._schedule.take(now)
        if self._start is None:
            self._start = now
        self.timeline[int((now - self._start) / BIN), wait == 0] += 1
        if wait:
            self.refused += 1
        else:
            self.creates += 1
        return wait

    def refusal(self, wait: float) -> bytes:
        """Return the response to a refused create."""
        after = b"Retry-After: %d\r\n" % math.ceil(wait) if self._retry_after else b""
        return _answer(b'{"code":429,"msg":"rate limit"}', b"429 Too Many Requests", after)

    def report(self) -> bytes:
        """Return the counts as JSON."""
        last = max((at for at, _ in self.timeline), default=-1)
        counts = {
            "creates": self.creates,
            "refused": self.refused,
            "polls": self.polls,
            "bin": BIN,
            "accepted": [self.timeline[at, True] for at in range(last + 1)],
            "turned_away": [self.timeline[at, False] for at in range(last + 1)],
        }
        return json.dumps(counts).encode()


class Book:
    """Holds the current ledger, and assigns ids."""

    def __init__(self, ledger: Ledger, finished: int = 0) -> None:
        self.ledger = ledger
        self.number = 0
        self.finished = finished
        self.host = b""

    def status(self, target: bytes) -> bytes:
        """Return the response to a status query."""
        self.ledger.polls += 1
        host = self.host if self.finished else b""
        return _answer(status_answer(target.rpartition(b"/")[2], host, self.finished))

    def control(self, method: bytes, target: bytes) -> bytes:
        """Return the response to a control request."""
        parts = urlsplit(target.decode())
        if method == b"POST" and parts.path == "/-/limit":
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            self.ledger = Ledger(
                query.get("steps", ""), query.get("kind", "sliding"), "retry_after" in query
            )
        return _answer(self.ledger.report())


def _answer(body: bytes, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b" % (
        status,
        more,
        len(body),
        body,
    )


_CREATED = {prefix: _answer(body) for prefix, body in ANSWERS.items()}
"""Complete responses, built once, with a placeholder as long as an id."""


class Connection(asyncio.Protocol):
    """A keep-alive connection. Requests that arrive together get their responses in one write."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._buffer = b""
        self._writable = asyncio.Event()
        self._writable.set()
        self._sending: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sending is not None:
            self._sending.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        answers: list[bytes] = []
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            head = buffer[:end]
            whole = end + 4 + _length(head)
            if len(buffer) < whole:
                break
            answers.append(self._request(head))
            buffer = buffer[whole:]
        self._buffer = buffer
        if answers:
            self._transport.write(b"".join(answers))

    def _request(self, head: bytes) -> bytes:
        method, target, _ = head.split(b" ", 2)
        book = self._book
        if target.startswith(b"/-/"):
            return book.control(method, target)
        if target.startswith(b"/files/"):
            return self._file(int(target.split(b"/")[2]), target.endswith(b".webp"))
        if method == b"GET":
            return book.status(target)
        if wait := book.ledger.create(time.monotonic()):
            return book.ledger.refusal(wait)
        book.number += 1
        prefix = target.split(b"/", 2)[1]
        answer = _CREATED[prefix if prefix in PREFIXES else b"v1"]
        return answer.replace(b"%" * 32, b"%032x" % book.number)

    def _file(self, size: int, is_image: bool) -> bytes:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (
            b"image/webp" if is_image else b"video/mp4",
            size,
        )
        if size <= len(CHUNK):
            return head + (WEBP if is_image else MP4) + CHUNK[: size - 12]
        self._sending = asyncio.ensure_future(self._send(size))
        return head

    async def _send(self, left: int) -> None:
        while left and not self._transport.is_closing():
            self._transport.write(CHUNK[:left])
            left -= min(left, len(CHUNK))
            await self._writable.wait()
            await asyncio.sleep(0)


def _length(head: bytes) -> int:
    at = head.lower().find(b"\r\ncontent-length:")
    if at < 0:
        return 0
    return int(head[at + 17 :].partition(b"\r\n")[0])


async def serve(book: Book) -> None:
    """Serve requests until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(book), "127.0.0.1", 0, backlog=8192)
    port = server.sockets[0].getsockname()[1]
    book.host = b"127.0.0.1:%d" % port
    print(port, flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", default="", metavar="SECONDS:RATE,…")
    parser.add_argument("--kind", choices=KINDS, default="sliding")
    parser.add_argument("--retry-after", action="store_true")
    parser.add_argument(
        "--finished",
        type=int,
        default=0,
        metavar="BYTES",
        help="every task has a video of this size at once",
    )
    args = parser.parse_args()
    raise_file_limit()
    book = Book(Ledger(args.limit, args.kind, args.retry_after), args.finished)
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(book))
    else:
        uvloop.run(serve(book))


if __name__ == "__main__":
    main()
