"""A seeded campaign over raw sockets, judged by the server's own book.

Requests and answers are cut at every byte, by FIN and by RST; answers come twice; connections
close and speak while idle. Whatever happens: one create for one submit, no id that was sent whole
is lost or given to another create, and nothing but our errors.

    KEEVX_RAW=3000 pytest tests/whole/test_raw_campaign.py    # that many rounds of 24 creates
"""

import asyncio
import gzip
import json
import os
from collections.abc import Sequence
from random import Random

import pytest

from keevx_async import Keevx, KeevxError, Outcome, RetryPolicy, SubmissionUncertain
from tests.support.client import some_requests
from tests.support.raw_server import (
    FIN,
    RST,
    Heard,
    RawServer,
    Script,
    Step,
    answer,
    chunked,
    envelope,
)

ROUNDS = int(os.environ.get("KEEVX_RAW", "40"))
CREATES = 24
POLICY = RetryPolicy(attempts=4, first_delay=0.002, max_delay=0.01, deadline=20, grace=1)


class Host:
    """Decides by its seed what happens to each request, and notes which ids went out whole."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.closes = self.random.random() < 0.3  # after each answer
        self.whole: set[str] = set()

    def cut(self) -> tuple[int, str] | None:
        if self.random.random() < 0.9:
            return None
        return self.random.randrange(1, 300), self.random.choice((FIN, RST))

    def __call__(self, heard: Heard) -> Script:
        luck = self.random.random()
        made = luck > 0.1
        if made:
            body, status = envelope(heard.ids), "200 OK"
        else:
            body, status = b'{"code":530003,"msg":"try again"}', "500 Internal Server Error"
        raw = self.framed(body, status)
        if luck < 0.6:
            self.note(heard, made)
            return Script([raw, *self.afterwards()], made)
        if luck < 0.85:  # cut at any byte
            size = self.random.randrange(len(raw) + 1)
            if raw[:size].find(body) >= 0:
                self.note(heard, made)
            return Script([raw[:size], 0.001, self.random.choice((FIN, RST))], made)
        return Script(self.spoilt(heard, body, raw), made)

    def framed(self, body: bytes, status: str) -> bytes:
        way = self.random.randrange(4)
        if way == 0:
            return chunked(body, status, size=self.random.choice((1, 7, 1000)))
        if way == 1:
            return answer(gzip.compress(body), status, "Content-Encoding: gzip")
        if way == 2:
            return chunked(body, status, "Content-Length: 7", size=1000)
        return answer(body, status)

    def afterwards(self) -> Sequence[Step]:
        if self.closes:
            return [FIN]
        way = self.random.randrange(8)
        if way == 0:
            return [self.random.choice((0.0, 0.002, 0.01)), self.random.choice((FIN, RST))]
        return []

    def spoilt(self, heard: Heard, body: bytes, raw: bytes) -> Sequence[Step]:
        self.note(heard, made=True)
        way = self.random.randrange(4)
        if way == 0:
            return [answer(body).replace(b": %d" % len(body), b": %d" % (len(body) + 9)), FIN]
        if way == 1:
            return [chunked(body).removesuffix(b"0\r\n\r\n"), 0.001, self.random.choice((FIN, RST))]
        if way == 2:  # a whole second answer with it, or a part of one
            return [raw + raw[: self.random.randrange(len(raw))]]
        return [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), 0.001, body]

    def note(self, heard: Heard, made: bool) -> None:
        if made:
            self.whole.add(heard.prompt)


def judge(outcome: Outcome, server: RawServer, host: Host) -> str:
    """What is wrong with an outcome, by the server's book."""
    prompt = outcome.request.prompt
    made, ids = server.book[prompt], server.ids.get(prompt, ())
    if made > 1:
        return f"made {made} times"
    if outcome.error is None:
        return "" if outcome.task_ids == ids else f"{outcome.task_ids} instead of {ids}"
    if not isinstance(outcome.error, KeevxError):
        return f"{outcome.error!r} is no error of ours"
    if made and not isinstance(outcome.error, SubmissionUncertain):
        return f"made, and called {outcome.error!r}"
    return f"ids lost: {outcome.error}" if prompt in host.whole else ""


@pytest.mark.parametrize("block", range(min(ROUNDS, 4)))
async def test_the_book_agrees(block: int) -> None:
    for seed in range(block, ROUNDS, 4):
        host = Host(seed)
        async with (
            RawServer(host, host.cut) as server,
            Keevx("key", base_url=server.url, retry=POLICY, timeout=5.0) as keevx,
        ):
            fan = await asyncio.wait_for(
                keevx.submit_many(
                    some_requests(CREATES), concurrency=host.random.choice((1, 3, 12))
                ),
                30,
            )
            wrong = {
                outcome.index: what
                for outcome in fan.outcomes
                if (what := judge(outcome, server, host))
            }
            assert len(fan.outcomes) == CREATES
            assert not wrong, f"seed {seed}: {json.dumps(wrong, indent=1)}"
