"""Between values and bytes: nothing odd in an answer may cost a paid result."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keevx_async.http.decoding import (
    Envelope,
    decode_envelope,
    decode_ids,
    decode_task,
    decode_upload,
    query_path,
)
from keevx_async.models.image_to_video import ImageToVideo
from keevx_async.models.request import encode_request
from keevx_async.models.tasks import FIELDS, Task
from tests.support.requests import make
from tests.support.rules import taken

KIND = ImageToVideo.kind
IDS = ["i2v-d6b6472bcf724d0399e06d1390cb964e", "i2v-fc654817587e435e937f1e1b80366c00"]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
KNOWN = {"code", "msg", "data", "result", "task_ids", "url", "task_id", "status"}
names = st.text().filter(lambda name: name not in KNOWN)
others: st.SearchStrategy[dict[str, Any]] = st.dictionaries(names, json_values)


def envelope_of(value: Any) -> Envelope | None:
    return decode_envelope(json.dumps(value).encode())


def task_of(data: Any) -> Task | None:
    return decode_task(data, KIND)


def test_the_vendors_answer_is_read() -> None:
    envelope = envelope_of({"code": 0, "msg": "ok", "data": {"task_ids": IDS}})
    assert envelope == Envelope(0, "ok", {"task_ids": IDS})
    assert decode_ids(envelope.data) == tuple(IDS)


@given(others, others, json_values)
def test_no_other_field_costs_the_ids(top: Any, inner: Any, msg: Any) -> None:
    envelope = envelope_of({**top, "code": 0, "msg": msg, "data": {**inner, "task_ids": IDS}})
    assert envelope is not None
    assert envelope.code == 0
    assert envelope.msg == (msg if isinstance(msg, str) else "")
    assert decode_ids(envelope.data) == tuple(IDS)


@pytest.mark.parametrize("code", [0, 1, -1, 100001, 530003])
def test_a_code_is_an_integer(code: int) -> None:
    envelope = envelope_of({"code": code, "msg": ""})
    assert envelope is not None
    assert (envelope.code, envelope.msg, envelope.data) == (code, "", None)


@pytest.mark.parametrize("code", [True, False, "0", "ok", 0.0, None, [], {}, [0]])
def test_nothing_else_is_a_code(code: Any) -> None:
    assert envelope_of({"code": code, "msg": "ok", "data": {"task_ids": IDS}}) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"ok",
        b"null",
        b"0",
        b'"code"',
        b"[]",
        b'[{"code": 0}]',
        b"{}",
        '\u2028{"code": 429, "msg": "slow down"}'.encode(),  # JSON knows four white spaces
        b'{"msg": "ok", "data": {"task_ids": ["a"]}}',
        b'{"code": 0',
        b"<html>502 Bad Gateway</html>",
        b'{"code": 504, "message": "upstream request timeout"}',  # a gateway's, not Keevx's
        b'{"code": 100001}',
        b"\xff\xfe\xfd",
        b'{"code": 0, "msg": "\xff"}',
        b"[" * 200_000,
        b'{"code": 0, "data": ' + b"[" * 200_000,
        b'{"code": ' + b"1" * 10_000 + b"}",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_is_not_an_envelope_reads_as_none(body: bytes) -> None:
    assert decode_envelope(body) is None


@given(st.binary())
def test_no_bytes_break_the_reader(body: bytes) -> None:
    decode_envelope(body)


@given(json_values)
def test_no_json_breaks_the_readers(value: Any) -> None:
    assert envelope_of(value) is None or type(value["code"]) is int
    for read in (decode_ids, task_of, decode_upload):
        read(value)


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        [],
        IDS,
        "i2v-1",
        {"task_ids": None},
        {"task_ids": []},
        {"task_ids": "i2v-1"},
        {"task_ids": [1]},
        {"task_ids": [None]},
        {"task_ids": [""]},
        {"task_ids": ["i2v-1", 2]},
        {"task_ids": {"i2v-1": 1}},
        {"task_id": "i2v-1"},
    ],
)
def test_unreadable_ids_are_none(data: Any) -> None:
    assert decode_ids(data) is None


FULL: dict[str, Any] = {
    "task_id": IDS[0],
    "status": "SUCCEEDED",
    "video_url": "https://storage.example/sample_0.mp4",
    "thumbnail_url": "https://storage.example/a.webp",
    "error_message": "",
    "duration": 8,
    "width": 720,
    "height": 1280,
}


def test_the_vendors_task_is_read() -> None:
    assert decode_task(FULL, KIND) == Task(**FULL)


@given(
    others,
    st.fixed_dictionaries(
        {},
        optional={
            name: json_values.filter(lambda value: not isinstance(value, str | int | float))
            for name in FULL
            if name not in ("task_id", "status")
        },
    ),
)
def test_odd_fields_read_as_absent(extra: dict[str, Any], odd: dict[str, Any]) -> None:
    bare = Task(task_id=IDS[0], status="SUCCEEDED")
    absent = {name: getattr(bare, name) for name in odd}
    unnamed = {name: value for name, value in extra.items() if name not in FIELDS}
    read = decode_task({**unnamed, **FULL, **odd}, KIND)
    assert read == Task(**{**FULL, **absent}, extra=unnamed)


@pytest.mark.parametrize("odd", [True, False, "8", "", [], {}])
def test_a_measure_that_is_not_a_number_reads_as_absent(odd: Any) -> None:
    read = decode_task({**FULL, "duration": odd, "width": odd, "height": odd}, KIND)
    assert read == Task(**{**FULL, "duration": None, "width": None, "height": None})


def test_an_empty_url_is_none() -> None:
    read = decode_task({**FULL, "video_url": "", "thumbnail_url": ""}, KIND)
    assert read is not None
    assert (read.video_url, read.thumbnail_url) == (None, None)


@pytest.mark.parametrize(
    "status", ["GENERATING", "QUEUED", "SUCCESS", "succeeded", " SUCCEEDED", "failed", " FAILED"]
)
def test_an_unknown_status_is_kept_and_is_not_done(status: str) -> None:
    read = decode_task({"task_id": IDS[0], "status": status}, KIND)
    assert read is not None
    assert read.status == status
    assert not read.done
    assert not read.succeeded


@pytest.mark.parametrize(
    ("status", "done", "succeeded"),
    [
        ("PENDING", False, False),
        ("PROCESSING", False, False),
        ("SUCCEEDED", True, True),
        ("FAILED", True, False),
    ],
)
def test_the_known_statuses(status: str, done: bool, succeeded: bool) -> None:
    task = Task(task_id=IDS[0], status=status, video_url="https://example.com/v.mp4")
    assert (task.done, task.succeeded) == (done, succeeded)


@pytest.mark.parametrize("name", ["task_id", "status"])
@pytest.mark.parametrize("odd", [None, "", 5, True, [], {}])
def test_a_task_needs_its_id_and_status(name: str, odd: Any) -> None:
    assert decode_task({**FULL, name: odd}, KIND) is None
    assert decode_task({key: value for key, value in FULL.items() if key != name}, KIND) is None


def test_an_uploads_answer_is_read() -> None:
    envelope = envelope_of(
        {
            "code": 0,
            "success": True,
            "message": {"global": "success"},
            "result": {"url": "https://cdn.example/i.png", "fileId": "1", "fileName": "i.png"},
        }
    )
    assert envelope is not None
    assert decode_upload(envelope.result) == "https://cdn.example/i.png"


@pytest.mark.parametrize("data", [None, [], "https://a.example", {}, {"url": ""}, {"url": 5}])
def test_an_unreadable_upload_is_none(data: Any) -> None:
    assert decode_upload(data) is None


@given(taken())
def test_a_request_is_sent_as_its_dict(fields: dict[str, Any]) -> None:
    request = ImageToVideo(**fields)
    assert json.loads(encode_request(request)) == request.to_dict()


@given(taken())
def test_equal_requests_have_equal_bodies(fields: dict[str, Any]) -> None:
    backwards = dict(reversed(fields.items()))
    assert encode_request(ImageToVideo(**fields)) == encode_request(ImageToVideo(**backwards))


@pytest.mark.parametrize(
    ("fields", "body", "digest"),
    [
        (
            {"prompt": 'Ein "Hund" läuft\n犬 \\', "aspect_resolution": "1080p", "duration": 6},
            '{"aspect_ratio":"16:9","aspect_resolution":"1080p","duration":6,'
            '"image_url":"https://example.com/start.jpg","model":"V",'
            '"prompt":"Ein \\"Hund\\" läuft\\n犬 \\\\"}',
            "608633c36c5bd65117444cc2d6c2f2ec",
        ),
        (
            {
                "prompt": "A dog",
                "image_url": Path("in/start frame.png"),
                "reference_images": [Path("a.png"), "https://example.com/b.jpg"],
                "aspect_ratio": "9:16",
                "aspect_resolution": "4k",
                "duration": 8,
                "generate_audio": True,
                "generate_count": 4,
            },
            '{"aspect_ratio":"9:16","aspect_resolution":"4k","duration":8,"generate_audio":true,'
            '"generate_count":4,"image_url":"file:in/start frame.png","model":"V",'
            '"prompt":"A dog","reference_images":["file:a.png","https://example.com/b.jpg"]}',
            "e2fc12bb57789022fc44f80d983d6178",
        ),
    ],
)
def test_bodies_stay_what_they_were(fields: dict[str, Any], body: str, digest: str) -> None:
    """Their digests are the keys of journals that were written by earlier releases."""
    start = {"model": "V", "image_url": "https://example.com/start.jpg", "aspect_ratio": "16:9"}
    encoded = encode_request(ImageToVideo(**{**start, **fields}))
    assert encoded == body.encode()
    assert sha256(b"image_to_video:" + encoded).hexdigest().startswith(digest)


def test_a_callback_url_is_put_in_when_given() -> None:
    request = make(callback_url="https://mine.example/a")
    sent = json.loads(encode_request(request, "https://ours.example/b"))
    assert sent == {**request.to_dict(), "callback_url": "https://ours.example/b"}
    assert json.loads(encode_request(request))["callback_url"] == "https://mine.example/a"


@pytest.mark.parametrize(
    ("task_id", "segment"),
    [
        (IDS[0], IDS[0]),
        ("a/b", "a%2Fb"),
        ("a?b=1#c", "a%3Fb%3D1%23c"),
        ("../v2", "..%2Fv2"),
        ("a%2Fb", "a%252Fb"),
        ("a b", "a%20b"),
        ("犬", "%E7%8A%AC"),
    ],
)
def test_an_id_is_one_segment_of_the_path(task_id: str, segment: str) -> None:
    assert query_path(KIND, task_id) == f"/v1/image_to_video/{segment}"
