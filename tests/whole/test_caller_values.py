"""Values that callers hold come in as what they stand for, or are refused in words."""

import enum
import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import yarl
from hypothesis import given
from hypothesis import strategies as st

from keevx_async import (
    ConfigurationError,
    DownloadError,
    ImageGenerate,
    ImageToVideo,
    InvalidRequest,
    Keevx,
    KeevxError,
    PollPolicy,
    RetryPolicy,
    Submission,
    Task,
    VideoTranslate,
)
from keevx_async.models.converters import from_json, to_json
from keevx_async.models.rules import IMAGE_VALUES
from keevx_async.submission.callbacks import CallbackReceiver
from keevx_async.testing import Emulator
from tests.support.client import a_request, keevx_of

URL = "https://example.com/a.jpg"
LEAST: dict[str, Any] = {
    "model": "V",
    "prompt": "A dog",
    "aspect_ratio": "16:9",
    "aspect_resolution": "720p",
    "duration": 8,
    "image_url": URL,
}
NAN = float("nan")


class Whole:
    """An integer of another library, as numpy's are."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __index__(self) -> int:
        return self._value


class Scalar:
    """A scalar of an array library."""

    ndim = 0

    def __init__(self, value: object) -> None:
        self._value = value

    def item(self) -> object:
        return self._value


class Array:
    """An array: it has items, and compared with anything it has no truth."""

    def __init__(self, *items: object) -> None:
        self._items = items

    def __iter__(self) -> Iterator[object]:
        return iter(self._items)

    def __eq__(self, other: object) -> Any:
        return Ambiguous()

    __hash__ = None  # type: ignore[assignment]


class Ambiguous:
    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")


class HttpUrl:
    """A URL of pydantic's second version, which is not a str."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __str__(self) -> str:
        return self._url


class Secret:
    """A SecretStr of pydantic."""

    def get_secret_value(self) -> str:
        return "a-secret-of-sixteen"

    def __str__(self) -> str:
        return "**********"


class Model(enum.StrEnum):
    V = "V"


class Seconds(enum.IntEnum):
    EIGHT = 8


class NAType:
    """What pandas writes for a value that is missing."""


def made(**fields: Any) -> ImageToVideo:
    return ImageToVideo(**{**LEAST, **fields})


def violations(kind: Any, data: dict[str, Any]) -> list[str]:
    with pytest.raises(InvalidRequest) as refused:
        kind.from_dict(data)
    return [str(one) for one in refused.value.violations]


@pytest.mark.parametrize("value", [Whole(8), Scalar(8), Seconds.EIGHT, 8.0, Decimal(8)])
@pytest.mark.parametrize("name", ["duration", "generate_count"])
def test_a_whole_number_of_any_library_is_an_int(name: str, value: Any) -> None:
    if name == "generate_count":
        request: Any = ImageGenerate(prompt="A kite", generate_count=value)
    else:
        request = ImageToVideo.from_dict({**LEAST, name: value})
    found = getattr(request, name)
    assert (type(found), found) == (int, 8)


@pytest.mark.parametrize(
    "value", [True, Scalar(True), 7.5, Scalar(7.5), NAN, float("inf"), 8j, "8", Array(8), None]
)
def test_a_value_that_is_not_a_whole_number_is_refused_as_it_was_given(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="duration: must be one of 4, 6, 8") as refused:
        ImageToVideo(**{**LEAST, "duration": value})
    assert refused.value.violations[0].value is value


def test_a_bool_of_another_library_is_a_bool_and_a_number_is_not() -> None:
    assert made(generate_audio=Scalar(True)).generate_audio is True
    for value in (1, Whole(1), "true"):
        with pytest.raises(InvalidRequest, match="generate_audio: must be true or false"):
            made(generate_audio=value)


def test_a_string_of_another_class_is_a_plain_one() -> None:
    request = ImageToVideo(**{**LEAST, "model": Model.V})
    assert type(request.model) is str
    assert request == ImageToVideo(**LEAST)


def test_a_row_of_real_arrays_and_frames_is_taken() -> None:
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    rows = pandas.DataFrame([{**LEAST, "generate_count": 2}, {**LEAST, "image_url": None}])
    rows["reference_images"] = [numpy.array([]), pandas.Series([URL])]
    first, second = (ImageToVideo.from_dict(row) for row in rows.to_dict("records"))
    assert (first.generate_count, second.generate_count) == (2, 1), "2.0, and NaN"
    assert (second.image_url, second.reference_images) == (None, (URL,))
    assert ImageToVideo(**{**LEAST, "duration": numpy.int64(8)}) == ImageToVideo(**LEAST)
    assert ImageToVideo(**LEAST, generate_audio=numpy.True_).generate_audio is True
    with pytest.raises(InvalidRequest):
        ImageToVideo(**{**LEAST, "duration": numpy.bool_(True)})


@pytest.mark.parametrize("kind", [ImageToVideo, ImageGenerate, VideoTranslate])
@pytest.mark.parametrize("null", [None, NAN, NAType()])
def test_null_is_absent_in_every_optional_field(kind: Any, null: object) -> None:
    least: dict[str, Any] = {
        ImageToVideo: LEAST,
        ImageGenerate: {"prompt": "A kite"},
        VideoTranslate: {"target_languages": ["English"], "video_url": URL},
    }[kind]
    names = [one.name for one in kind.__attrs_attrs__]
    optional = {name: null for name in names if name not in least}
    assert kind.from_dict({**least, **optional}) == kind.from_dict(least)
    for name in least.keys() - {"image_url"}:
        assert violations(kind, {**least, name: null}) == [f"{name}: is required"]


@pytest.mark.parametrize(
    "several", [Array, lambda *urls: iter(urls), lambda *urls: dict.fromkeys(urls).keys()]
)
def test_an_array_or_an_iterable_is_a_list(several: Any) -> None:
    request = ImageToVideo(**LEAST, reference_images=several(URL, Path("b.png")))
    assert request.reference_images == (URL, Path("b.png"))
    dubbed = VideoTranslate(target_languages=several("English"), video_url=URL)
    assert dubbed.target_languages == ("English",)


@pytest.mark.parametrize("value", [URL, URL.encode(), {"a": URL}, {URL}, 5])
def test_one_text_is_not_a_list_of_letters(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="reference_images: must be a list") as refused:
        ImageToVideo(**LEAST, reference_images=value)
    assert ("write ['https:" in str(refused.value)) == isinstance(value, str)


@pytest.mark.parametrize("url", [HttpUrl(URL), yarl.URL(URL)])
def test_a_url_object_is_its_text(url: Any) -> None:
    request = ImageToVideo(**{**LEAST, "image_url": url}, reference_images=[url], callback_url=url)
    assert [request.image_url, *request.reference_images, request.callback_url] == [URL] * 3
    json.dumps(request.to_dict())
    assert VideoTranslate(target_languages=["English"], video_url=url).video_url == URL
    with pytest.raises(InvalidRequest, match="image_url"):
        ImageToVideo(**{**LEAST, "image_url": HttpUrl("ftp://example.com/a.jpg")})


@pytest.mark.parametrize("between", [",", ";", ",  "])
def test_several_urls_in_one_string_are_not_one(between: str) -> None:
    text = between.join([URL, URL.upper()])
    for fields in ({"image_url": text}, {"callback_url": text}, {"reference_images": [text]}):
        with pytest.raises(InvalidRequest, match="must be"):
            ImageToVideo(**{**LEAST, **fields})
    for fine in (
        "https://example.com/a,b;c.jpg",
        "https://e.com/w_1,https.png",
        "https://e.com/?u=https://a",
    ):
        assert ImageToVideo(**{**LEAST, "image_url": fine}).image_url == fine


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (b"\x89PNG", "Keevx.upload()"),
        ("data:image/png;base64," + "A" * 10_000, "data: URIs are not supported"),
        ([URL], "not a list"),
        ("a.png", "pathlib.Path"),
    ],
)
def test_the_error_for_a_wrong_image_says_what_to_do(value: Any, hint: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ImageToVideo(**{**LEAST, "image_url": value})
    assert hint in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("name", ["a b.png", "café #1?.png", "50%41.png", "ü;x.png"])
def test_a_file_uri_is_the_path_that_wrote_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for written in (path.as_uri(), path.as_uri().replace("file:", "FILE:"), f"file:{path}"):
        assert ImageToVideo.from_dict({**LEAST, "image_url": written}).local_files() == (path,)
    local = path.as_uri().replace("file://", "file://localhost")
    assert ImageToVideo.from_dict({**LEAST, "image_url": local}).image_url == path


def test_a_file_uri_of_another_host_is_refused() -> None:
    assert "image_url" in violations(ImageToVideo, {**LEAST, "image_url": "file://host/a.png"})[0]


@given(st.text(st.sampled_from("/a %25#?é."), min_size=1).map(Path))
def test_a_path_written_as_data_comes_back(path: Path) -> None:
    assert from_json(to_json(path)) == path


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("promt", "prompt"),
        ("Prompt", "prompt"),
        ("imageUrl", "image_url"),
        ("image", "image_url"),
        ("aspect-ratio", "aspect_ratio"),
        ("resolution", "aspect_resolution"),
    ],
)
def test_the_error_for_an_unknown_field_names_the_nearest_field(name: str, near: str) -> None:
    told = violations(ImageToVideo, {**LEAST, name: "x"})
    assert told == [f"unknown field {name!r}: did you mean {near!r}?"]


def test_all_faults_of_a_row_are_reported_at_once() -> None:
    row = {**LEAST, "promt": "x", "duration": 5, "generate_count": 9, "seed": 1}
    del row["prompt"]
    told = violations(ImageToVideo, row)
    assert [one.partition(":")[0] for one in told] == [
        "unknown field 'promt'",
        "unknown field 'seed'",
        "prompt",
        "generate_count",
        "duration",
    ]
    assert "must be a mapping" in violations(ImageToVideo, [row])[0]  # type: ignore[arg-type]


def test_of_many_rows_each_violation_names_its_row() -> None:
    assert ImageToVideo.many(iter([LEAST, {**LEAST, "duration": 6.0}])) == [
        made(),
        made(duration=6),
    ]
    assert ImageToVideo.many([]) == []
    with pytest.raises(InvalidRequest) as refused:
        ImageToVideo.many([LEAST, {**LEAST, "duration": 5, "promt": "x"}, LEAST, {}, "row"])  # type: ignore[list-item]
    found = refused.value.violations
    assert str(found[0]) == "rows[1]: unknown field 'promt': did you mean 'prompt'?"
    assert str(found[1]).startswith("rows[1].duration: must be one of 4, 6, 8")
    assert "rows[3].prompt: is required" in map(str, found)
    assert str(found[-1]).startswith("rows[4].request: must be a mapping of fields")
    assert {one.field.partition("]")[0] for one in found} == {"rows[1", "rows[3", "rows[4"}


def test_values_of_image_generate_may_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, values in list(IMAGE_VALUES.items()):
        with pytest.raises(InvalidRequest, match=f"{name}: must be one of .* \\(got 'next'\\)"):
            ImageGenerate.from_dict({"prompt": "A kite", name: "next"})
        monkeypatch.setitem(IMAGE_VALUES, name, (*values, "next"))
        assert ImageGenerate.from_dict({"prompt": "A kite", name: "next"}).to_dict()[name] == "next"


GOOD: list[dict[str, Any]] = [
    {"timeout": Whole(5), "rate": Whole(5), "max_connections": Whole(5)},
    {"timeout": Decimal("0.5"), "rate": 0.5, "max_connections": 5.0},
    {"timeout": aiohttp.ClientTimeout(total=None, connect=3)},
    {"base_url": HttpUrl("https://api.keevx.example")},
    {"base_url": " https://api.keevx.example\n"},
    {"api_key": Secret()},
    {"api_key": " test-key\n"},
    {"headers": {"source": "skill"}},
]
BAD: list[tuple[dict[str, Any], str]] = [
    ({"api_key": None}, "set KEEVX_API_KEY"),
    ({"api_key": " \n"}, "set KEEVX_API_KEY"),
    ({"api_key": "two words"}, "copy it again"),
    ({"api_key": "schlüssel"}, "copy it again"),
    ({"base_url": "api.keevx.com"}, "check base_url= or KEEVX_BASE_URL"),
    ({"base_url": "ftp://api.keevx.com"}, "check base_url="),
    ({"base_url": "https://api.keevx.com/?a=b"}, "check base_url="),
    ({"rate": 0}, r"rate must be a number above 0 \(got 0\)"),
    ({"rate": NAN}, r"rate must .* \(got nan\)"),
    ({"timeout": -1}, r"timeout must be a number above 0 \(got -1\)"),
    ({"timeout": True}, r"timeout must .* \(got True\)"),
    ({"timeout": None}, r"timeout must .* \(got None\)"),
    ({"timeout": "5"}, r"timeout must .* \(got '5'\)"),
    ({"max_connections": 0}, r"max_connections must .* \(got 0\)"),
    ({"max_connections": 0.5}, r"max_connections must .* \(got 0\.5\)"),
    ({"api_key": HttpUrl("my-own-key")}, "api_key must be a string"),
    ({"api_key": b"my-own-key"}, "api_key must be a string"),
    ({"base_url": 5}, "the base URL must look like"),
    ({"base_url": "https://user:my-own-key@api.example"}, "the base URL must look like"),
    ({"timeout": timedelta(seconds=5)}, "total_seconds"),
    ({"timeout": NAN}, "timeout must be"),
    ({"timeout": aiohttp.ClientTimeout(total="5")}, "timeout.total must be"),  # type: ignore[arg-type]
    ({"timeout": aiohttp.ClientTimeout(sock_read=NAN)}, "timeout.sock_read must be"),
    ({"rate": True}, "rate must be"),
    ({"max_connections": Scalar(True)}, "max_connections must be"),
    ({"headers": [("a", "b")]}, "headers must be a mapping"),
    ({"headers": {"source": 5}}, "headers\\['source'\\] must be a string"),
    ({"headers": {"source": "my-own-key\r\nX: y"}}, "headers\\['source'\\] contains"),
    ({"headers": {"so urce": "x"}}, "headers: 'so urce'"),
    *(({"account": odd}, "account must be a non-empty string") for odd in ("", " ", 5)),
    ({"fit": "stretch"}, "fit must be one of none, crop, pad"),
    ({"session": object()}, "session must be"),
    ({"session": aiohttp.ClientSession}, "session must be"),
    ({"retry": 3}, "retry must be a RetryPolicy"),
    ({"polling": RetryPolicy()}, "polling must be a PollPolicy"),
    ({"journal": 5}, "journal must be"),
    ({"on_event": "print"}, "on_event must be a function"),
]


@pytest.mark.parametrize("given", GOOD)
def test_a_client_takes_settings_of_other_types(given: dict[str, Any]) -> None:
    Keevx(**{"api_key": "test-key", **given})


@pytest.mark.parametrize(("given", "said"), BAD)
def test_a_client_refuses_a_setting_in_words(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        Keevx(**{"api_key": "test-key", **given})
    assert "my-own-key" not in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_headers_of_the_caller_never_double_ours(emulator: Emulator) -> None:
    names = ("authorization", "USER-AGENT", "content-type", "content-length", "source")
    headers = dict.fromkeys(names, "5")
    seen: list[Any] = []

    async def look(session: Any, context: Any, params: Any) -> None:
        seen.append(params.headers)

    tracing = aiohttp.TraceConfig()
    tracing.on_request_headers_sent.append(look)
    async with (
        aiohttp.ClientSession(trace_configs=[tracing]) as session,
        keevx_of(emulator, session=session, headers=headers) as keevx,
    ):
        assert (await keevx.submit(a_request())).task_ids
    (sent,) = seen
    assert [sent.getall(name) for name in ("Authorization", "User-Agent", "source")] == [
        ["Bearer test-key"],
        ["5"],
        ["5"],
    ]
    assert sent.getall("Content-Type") == ["application/json"]


@pytest.mark.parametrize("value", [NAN, True, "3", None, -1, Scalar(3)])
def test_a_policy_refuses_what_is_not_a_number(value: Any) -> None:
    for name in ("attempts", "first_delay", "max_delay", "deadline", "grace"):
        with pytest.raises(ConfigurationError, match=f"{name} must be a"):
            RetryPolicy(**{name: value})
    for name in ("shortest", "longest", "concurrency", "polls_per_task"):
        with pytest.raises(ConfigurationError, match=f"{name} must be a"):
            PollPolicy(**{name: value})
    assert RetryPolicy(deadline=float("inf"), attempts=3).attempts == 3
    assert PollPolicy(timeout=None, max_rate=None).timeout is None


def test_a_receiver_takes_a_secret_and_a_url_by_their_texts() -> None:
    receiver = CallbackReceiver(HttpUrl("https://you.example/keevx"), secret=Secret())  # type: ignore[arg-type]
    assert receiver.url_for("a").startswith("https://you.example/keevx/")
    assert "sixteen" not in repr(receiver)


IDS: list[tuple[Any, str]] = [
    ("i2v-1", r"list of task ids .* write \['i2v-1'\]"),
    (b"i2v-1", "list of task ids"),
    ({"i2v-1": 1}, "list of task ids"),
    (17, "list of task ids"),
    (Task(task_id="i2v-1", status="PENDING"), "pass a list with its task_id"),
    (Submission(ImageToVideo(**LEAST), "key", ("i2v-1",)), "pass its task_ids"),
    ([b"i2v-1"], r"task_ids\[0\]: must be a string"),
    (["i2v-1", 17], r"task_ids\[1\]: must be a string"),
    ([["i2v-1"]], r"task_ids\[0\]: must be a string"),
    (["i2v-\ud800"], r"task_ids\[0\]: must be valid text"),
    ([Task(task_id="i2v-1", status="PENDING")], "pass its task_id"),
]


@pytest.mark.parametrize(("ids", "said"), IDS)
@pytest.mark.parametrize("kind", [None, "image_to_video"])
async def test_a_value_that_is_not_a_list_of_ids_is_refused_without_a_query(
    emulator: Emulator, ids: Any, said: str, kind: str | None
) -> None:
    async with keevx_of(emulator) as keevx:
        with pytest.raises(InvalidRequest, match=said):
            async for _ in keevx.wait_many(ids, kind=kind):
                pass
    assert not emulator.requests


async def test_single_calls_refuse_what_they_cannot_use(emulator: Emulator, tmp_path: Path) -> None:
    task = Task(task_id="i2v-1", status="PENDING")
    request = a_request()
    async with keevx_of(emulator) as keevx:
        calls: list[tuple[Any, type[KeevxError], str]] = [
            (lambda: keevx.status(task), InvalidRequest, "pass its task_id"),  # type: ignore[arg-type]
            (lambda: keevx.status("i2v-\ud800"), InvalidRequest, "task_id: must be valid text"),
            (lambda: keevx.wait([]), InvalidRequest, "task_id: must be"),  # type: ignore[arg-type]
            (lambda: keevx.wait("i2v-1", timeout=NAN), ConfigurationError, "timeout must be"),
            (lambda: keevx.wait("i2v-1", timeout="5"), ConfigurationError, "timeout must be"),  # type: ignore[arg-type]
            (lambda: keevx.status("i2v-1", kind=[]), InvalidRequest, "kind: must be one of"),  # type: ignore[arg-type]
            (lambda: keevx.submit(request, key=5), InvalidRequest, "key: must be a string"),  # type: ignore[arg-type]
            (lambda: keevx.submit(request, key=""), InvalidRequest, "key: must not be blank"),
            (lambda: keevx.submit(request, key="\ud800"), InvalidRequest, "key: must be valid"),
            (lambda: keevx.download([task], tmp_path), DownloadError, "must be a Task or the URL"),  # type: ignore[arg-type]
            (lambda: keevx.download(task, 5), ConfigurationError, "destination must be a path"),  # type: ignore[arg-type]
        ]
        for call, error, said in calls:
            with pytest.raises(error, match=said):
                await call()
        for name, value in (("key", "mine"), ("download", True)):
            with pytest.raises(ConfigurationError, match=f"{name} must be"):
                keevx.generate_many([request], **{name: value})  # type: ignore[arg-type]
        for verb in (keevx.submit_many, keevx.generate_many):
            for odd in (0, -1, 0.5, True, "many"):
                with pytest.raises(ConfigurationError, match=rf"concurrency .* \(got {odd!r}\)"):
                    verb([], concurrency=odd)  # type: ignore[arg-type]
        for alone in (5, None, Path("prompts.csv"), SimpleNamespace()):
            with pytest.raises(ConfigurationError, match="requests must be a list"):
                keevx.submit_many(alone)  # type: ignore[arg-type]
        (outcome,) = (await keevx.submit_many([request], key=lambda _: 5)).outcomes  # type: ignore[arg-type, return-value]
        assert isinstance(outcome.error, InvalidRequest)
    assert not emulator.requests


async def test_ids_of_any_iterable_are_waited_for(emulator: Emulator) -> None:
    async with keevx_of(emulator) as keevx:
        ids = (await keevx.submit(a_request(generate_count=2))).task_ids
        for given in (Array(*ids), iter(ids), set(ids), dict.fromkeys(ids).keys()):
            ended = [task.task_id async for task in keevx.wait_many(given)]  # type: ignore[arg-type]
            assert sorted(ended) == sorted(ids)
