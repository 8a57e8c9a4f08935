"""A Keevx of raw sockets: it answers by script, byte for byte, and keeps its own book.

What an HTTP server would never do is what is tested with it: an answer cut anywhere, a reset, two
answers to one request, bytes on an idle connection, a length that lies.
"""

import asyncio
import json
import re
import socket
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple, Self

FIN = "fin"
RST = "rst"
Step = bytes | float | str
"""Bytes to write, seconds to wait, or FIN or RST, which end the connection."""


class Heard(NamedTuple):
    """A whole request, and the ids that a create of it is given."""

    method: str
    path: str
    head: bytes
    body: bytes
    ids: tuple[str, ...]
    connection: int

    @property
    def prompt(self) -> str:
        return str(json.loads(self.body)["prompt"])


class Script(NamedTuple):
    """What is done once a request has come whole, and whether a create of it is booked."""

    steps: Sequence[Step] = ()
    made: bool = True


def envelope(ids: Sequence[str], code: int = 0, msg: str = "ok") -> bytes:
    return json.dumps({"code": code, "msg": msg, "data": {"task_ids": list(ids)}}).encode()


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(body: bytes, status: str = "200 OK", *headers: str, size: int = 16) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Transfer-Encoding: chunked", *headers]
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + chunks + b"0\r\n\r\n"


def accept(heard: Heard) -> Script:
    """Make what is asked for, and say so."""
    return Script([answer(envelope(heard.ids))])


class RawServer:
    """Listens on a free loopback port.

    Args:
        script: what to do with each whole request.
        cut: asked before each request for how many bytes of it are read before the connection
            ends, and how it does; None to read it all.

    Attributes:
        url: its base URL.
        book: creates that were made, by prompt.
        ids: what they were given, by prompt.
        heard: every whole request, in order.
        connections: how many were accepted.
    """

    def __init__(
        self,
        script: Callable[[Heard], Script] = accept,
        cut: Callable[[], tuple[int, str] | None] = lambda: None,
    ) -> None:
        self.url = ""
        self.book: Counter[str] = Counter()
        self.ids: dict[str, tuple[str, ...]] = {}
        self.heard: list[Heard] = []
        self.connections = 0
        self._script = script
        self._cut = cut
        self._numbers = count()
        self._serving: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        self.connections += 1
        number = self.connections
        try:
            while await self._serve_one(reader, writer, number):
                pass
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the client hung up, or the test is over
        finally:
            writer.close()

    async def _serve_one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> bool:
        if cut := self._cut():
            size, how = cut
            await reader.readexactly(size)
            return self._end(writer, how)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
        method, path, _ = head.decode("latin-1").split(" ", 2)
        many = re.search(rb'"generate_count":(\d+)', body)
        count = (int(many[1]) if many else 1) if method == "POST" else 0
        made_ids = tuple(f"i2v-{next(self._numbers):032x}" for _ in range(count))
        heard = Heard(method, path, head, body, made_ids, number)
        self.heard.append(heard)
        script = self._script(heard)
        if method == "POST" and script.made:
            self.book[heard.prompt] += 1
            self.ids[heard.prompt] = self.ids.get(heard.prompt, ()) + heard.ids
        for step in script.steps:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif isinstance(step, float):
                await asyncio.sleep(step)
            else:
                return self._end(writer, step)
        return True

    def _end(self, writer: asyncio.StreamWriter, how: str) -> bool:
        if how == RST:
            linger = struct.pack("ii", 1, 0)
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        else:  # at once: closing the transport takes another round of the loop
            writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
        return False
