"""An answer is read from its raw bytes, whatever became of its framing."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keevx_async.http.framing import MAX_BODY, decode_body, read_answer
from tests.support.raw_server import answer, chunked, envelope

BODY = envelope(["i2v-1"])
WHOLE = {
    "by its length": answer(BODY),
    "chunked": chunked(BODY),
    "chunked, with a length beside": chunked(BODY, "200 OK", "Content-Length: 5"),
    "a length, but no chunk, under chunked": answer(BODY, "200 OK", "Transfer-Encoding: chunked"),
    "chunk extensions and trailers": chunked(BODY)
    .replace(b"\r\n10\r\n", b"\r\n10;a=b\r\n")
    .replace(b"\r\n0\r\n\r\n", b"\r\n0\r\nX: y\r\n\r\n"),
    "line feeds alone": answer(BODY).replace(b"\r\n", b"\n"),
    "interim answers first": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\n"
    + answer(BODY),
    "the same length twice": answer(BODY, "200 OK", f"Content-Length: {len(BODY)}"),
    "what follows is not its own": answer(BODY) + answer(b"other"),
    "no reason phrase": answer(BODY, "200"),
}
BROKEN = {
    "a length too large": answer(BODY).replace(b": %d" % len(BODY), b": %d" % (len(BODY) + 5)),
    "the last chunk cut": chunked(BODY).removesuffix(b"\n\r\n"),
    "no last chunk": chunked(BODY).removesuffix(b"0\r\n\r\n"),
    "a length that is none": answer(BODY).replace(b": %d" % len(BODY), b": -4"),
    "two lengths": answer(BODY, "200 OK", "Content-Length: 3"),
    "neither length nor chunks": b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
    "chunked says it, and is not": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
    "rubbish before it": b"rubbish\r\n" + answer(BODY),
}


@pytest.mark.parametrize("raw", WHOLE.values(), ids=WHOLE)
def test_a_whole_answer_is_known_to_be_whole(raw: bytes) -> None:
    found = read_answer(raw)
    assert found is not None
    assert (found.status, found.body, found.complete) == (200, BODY, True)


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_keeps_its_body_and_is_not_whole(raw: bytes) -> None:
    found = read_answer(raw)
    assert found is not None
    assert (found.body, found.complete) == (BODY, False)


def test_headers_come_as_they_were_sent() -> None:
    found = read_answer(answer(b"", "204 No Content", "X-A: 1 ", "x-a:2", "no colon", "X-\xff: b"))
    assert found is not None
    assert found.complete
    assert [one for one in found.headers if one[0].lower() == "x-a"] == [("X-A", "1"), ("x-a", "2")]


def test_an_incomplete_header_block_is_not_an_answer() -> None:
    raw = answer(BODY)
    head = raw.index(b"\r\n\r\n") + 4
    assert {read_answer(raw[:size]) for size in range(head)} == {None}
    assert read_answer(b"HTTP/1.1 100 Continue\r\n\r\n") is None
    assert read_answer(b"") is None
    assert read_answer(BODY) is None


@given(st.sampled_from([*WHOLE.values(), *BROKEN.values()]), st.integers(0, 400))
def test_a_cut_answer_is_never_whole_and_never_longer(raw: bytes, cut: int) -> None:
    found, all_of_it = read_answer(raw[:cut]), read_answer(raw)
    assert all_of_it is not None
    if found is not None and found.complete:
        assert found.body == all_of_it.body
    elif found is not None and all_of_it.complete:
        assert len(found.body) <= len(raw)


@given(st.binary(max_size=300))
def test_no_bytes_are_too_strange(rubbish: bytes) -> None:
    for raw in (rubbish, b"HTTP/1.1 200 OK\r\n" + rubbish, chunked(BODY)[:60] + rubbish):
        read_answer(raw)
    for coding in ("gzip", "deflate", "gzip, deflate", "br", ""):
        decode_body(rubbish, coding)


ENCODED = {
    "gzip": gzip.compress(BODY),
    "x-gzip": gzip.compress(BODY),
    "deflate": zlib.compress(BODY),
    "Deflate": zlib.compress(BODY)[2:-4],  # as some servers send it
    "deflate, gzip": gzip.compress(zlib.compress(BODY)),
    "identity": BODY,
    "": BODY,
}


@pytest.mark.parametrize("coding", ENCODED)
def test_a_body_is_decoded(coding: str) -> None:
    assert decode_body(ENCODED[coding], coding) == (BODY, "")


def test_an_empty_encoded_body_is_whole() -> None:
    assert decode_body(gzip.compress(b""), "gzip") == (b"", "")
    assert decode_body(b"", "gzip") == (b"", "")


@pytest.mark.parametrize(
    "spoilt",
    [gzip.compress(BODY)[:-9], gzip.compress(BODY)[:-8] + b"12345678"],
    ids=["cut off", "a wrong checksum"],  # else the time in gzip's header would be in the name
)
def test_what_was_decoded_before_an_error_is_kept(spoilt: bytes) -> None:
    body, wrong = decode_body(spoilt, "gzip")
    assert body[:40] == BODY[:40]
    assert "gzip" in wrong


def test_a_body_that_is_not_encoded_as_it_says_comes_as_it_is() -> None:
    assert decode_body(BODY, "gzip") == (BODY, "the body is truncated or invalid gzip")
    assert decode_body(BODY, "br") == (BODY, "the body is encoded as 'br'")


def test_a_body_is_decoded_up_to_a_bound() -> None:
    for packed, coding in ((gzip.compress(b" " * 50_000_000), "gzip"), (b" " * 2_000_000, "")):
        body, wrong = decode_body(packed, coding)
        assert len(body) == MAX_BODY
        assert "longer" in wrong
    assert decode_body(gzip.compress(b" " * MAX_BODY), "gzip") == (b" " * MAX_BODY, "")
