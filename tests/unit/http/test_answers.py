"""What is read from the answer to a create, and how an answer is quoted."""

import json
import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keevx_async.errors import SubmissionUncertain, brief
from keevx_async.http.decoding import (
    MAX_ID_LENGTH,
    MAX_QUOTED,
    Contents,
    decode_envelope,
    quotable,
    read_contents,
)
from keevx_async.http.verdict import Ids, Verdict, classify

ID, OTHER = "i2v-d6b6472bcf724d0399e06d1390cb964e", "i2v-fc654817587e435e937f1e1b80366c00"
KEY = "sk-secret-0123456789/abc"


def answer(msg: bytes = b"ok", ids: Any = (ID,), code: Any = 0) -> bytes:
    data = json.dumps({"task_ids": ids}).encode()
    return b'{"code":%s,"msg":"%s","data":%s}' % (json.dumps(code).encode(), msg, data)


def read(body: bytes, charset: str | None = None) -> Contents:
    return read_contents(body, "i2v-", charset)


def fate(body: bytes, status: int = 200) -> Verdict:
    """What an answer comes to whose host is known."""
    found, envelope = read(body), decode_envelope(body)
    ids = Ids.READ if found.ids else Ids.DOUBTFUL if found.traces else Ids.NONE
    return classify(status, envelope.code if envelope else None, ids=ids)


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + answer(),
        answer("成功".encode("gbk")),
        answer("创\\建".encode("gbk").replace(b"\\", b"\\\\")),
        answer("誠".encode("gbk")),
        answer("créé".encode("latin-1")),
        answer(b"line\nline\ttab\x01"),
        answer() + b"\0",
        answer() + b"\n<!-- 0.01 s -->",
        answer() + answer(ids=[OTHER]),
        b"\r\n\r\n" + answer(),
        b")]}',\n" + answer(),
        b"Warning: something in line 3\n" + answer(),
        answer().decode().encode("utf-16"),
        answer().decode().encode("utf-16-le"),
        answer().decode().encode("utf-16-be"),
        answer().decode().encode("utf-32"),
        answer(code="0"),
        answer(code=None),
        answer(code=True),
        answer(code=530003),
        json.dumps({"data": {"task_ids": [ID]}}).encode(),
        json.dumps({"code": 0, "data": [{"task_id": ID, "language": "English"}]}).encode(),
    ],
    ids=range(22),
)
def test_ids_in_their_place_are_read_from_any_answer(body: bytes) -> None:
    assert read(body).ids == (ID,)
    assert all(fate(body, status) is Verdict.ACCEPTED for status in (200, 400, 429, 500, 503))


def test_a_declared_encoding_is_tried() -> None:
    body = answer("表示".encode("shift_jis"))  # its second byte is a backslash
    assert read(body, "shift_jis").ids == (ID,)
    for odd in ("no-such", "hex", "utf-7", "idna", ""):
        assert read(answer(), odd).ids == (ID,)


@pytest.mark.parametrize(
    ("body", "traces"),
    [
        (b'{"code":530003,"msg":"x","task_ids":["a","b"]}', {"a", "b"}),
        (b'{"code":530003,"msg":"x","data":{"task_id":"a"}}', {"a"}),
        (b'{"code":530003,"msg":"x","data":{"made":[{"task_id":7}]}}', {"7"}),
        (b'{"code":530003,"msg":"x","data":{"task_ids":["a",null]}}', {"a"}),
        (b'{"code":530003,"msg":"x","data":{"task_ids":["a\\ud800"]}}', {"a\\ud800"}),
        (b'{"code":0,"data":{"task_ids":["i2v-1","i2v-2","i2v-3', {"i2v-1", "i2v-2"}),
        (b'{"warning":1}' + answer(), {ID}),
        (b'<html>"i2v-1"</html>', {"i2v-1"}),
        (b'{"code":100001,"msg":"x","data":{"file":"i2v-1.png"}}', set()),
        (b'{"code":100001,"msg":"task i2v-1 is not \\"i2v-2\\"","data":null}', set()),
        (b'{"code":100001,"msg":"x","data":{"task_ids":[],"task_id":null}}', set()),
        (b"<html>i2v-1</html>", set()),
        (b"", set()),
    ],
)
def test_ids_elsewhere_are_kept_as_traces(body: bytes, traces: set[str]) -> None:
    assert set(read(body).traces) == traces
    assert read(body).ids == ()
    if traces:
        assert fate(body) is fate(body, 429) is Verdict.UNKNOWN


def test_an_id_that_comes_twice_is_one_and_what_is_too_long_is_none() -> None:
    assert read(answer(ids=[ID, ID, OTHER])).ids == (ID, OTHER)
    assert read(answer(ids=["x" * (MAX_ID_LENGTH + 1)])).ids == ()


texts = st.text(max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
shapes: list[Callable[[list[str]], Any]] = [
    lambda ids: {"task_ids": ids},
    lambda ids: [{"task_id": one} for one in ids],
    lambda ids: {"deep": [{"task_ids": ids}]},
    lambda ids: {"task_id": ids[0]},
]
some_ids = st.lists(st.text(string.ascii_lowercase + "-", min_size=1, max_size=20), min_size=1)


@given(
    st.integers(200, 599),
    st.integers(-1, 600) | st.integers(100_000, 999_999),
    st.sampled_from(shapes),
    some_ids,
    st.dictionaries(texts.filter(lambda name: name not in ("code", "msg", "data")), values),
    st.binary(max_size=5),
    st.booleans(),
)
def test_an_answer_with_ids_is_never_a_refusal(
    status: int,
    code: int,
    shape: Callable[[list[str]], Any],
    ids: list[str],
    others: dict[str, Any],
    rest: bytes,
    known: bool,
) -> None:
    body = json.dumps({**others, "code": code, "msg": "m", "data": shape(ids)}).encode() + rest
    found = read_contents(body, "i2v-")
    assert found.ids or found.traces
    assert set(found.ids or found.traces) <= set(ids)
    envelope = decode_envelope(body)
    verdict = classify(
        status,
        envelope.code if envelope else None,
        ids=Ids.READ if found.ids else Ids.DOUBTFUL,
        retry_after=True,
        html=True,
        is_keevx=known,
    )
    assert verdict in (Verdict.ACCEPTED, Verdict.UNKNOWN)


@given(st.binary(), st.none() | st.text(max_size=8))
def test_no_bytes_break_the_reader(body: bytes, charset: str | None) -> None:
    found = read_contents(b'{"data":' + body, "i2v-", charset)
    for one in (*found.ids, *found.traces):
        one.encode()
    quotable(body).encode()


@given(st.integers(0, len(answer(ids=[ID, OTHER]))))
def test_ids_of_an_answer_that_broke_off_are_those_that_came_whole(at: int) -> None:
    body = answer(ids=[ID, OTHER])
    found = read(body[:at])
    whole = tuple(one for one in (ID, OTHER) if f'"{one}"'.encode() in body[:at])
    assert (found.ids or found.traces) == whole
    assert found.ids == (whole if at == len(body) else ())


def test_a_deep_answer_does_not_break_the_reader() -> None:
    assert read(b'{"data":' * 100_000) == Contents((), ())


@given(st.text(max_size=400), st.text(max_size=400), st.integers(0, len(KEY)))
def test_a_secret_shows_in_no_quote(before: str, after: str, cut: int) -> None:
    for text in (f"{before}{KEY}{after}", f"{before}{KEY[:cut]}"):
        for form in (text, text.encode("utf-8", "replace"), text.replace("/", "\\/")):
            shown = quotable(form, [KEY])
            assert KEY not in shown
            assert not any(shown.endswith(KEY[:length]) for length in range(8, len(KEY)))
            assert len(shown) <= MAX_QUOTED + 1


def test_a_quote_is_short_and_shows_no_query_of_a_url() -> None:
    assert len(quotable(b"x" * 2**20)) == len(brief("x" * 2**20)) == MAX_QUOTED + 1
    shown = quotable(b'{"image_url":"https:\\/\\/a.example\\/b.png?sign=abc&x=1","n":1}')
    assert shown == '{"image_url":"https://a.example/b.png?***","n":1}'


def test_an_error_names_ids_first() -> None:
    error = SubmissionUncertain(None, "mine", "cut off", [ID, OTHER])
    assert str(error).startswith(f"task ids {ID}, {OTHER} ")
    assert "www.keevx.com/main/meta/creations" in error.hint
    assert "www.keevx.com/main/meta/creations" in str(error)
