"""A service's code, as the type checkers see it: variables, bodies, options, keys.

Checked by mypy and pyright, never run.
"""

from collections.abc import Awaitable, Callable
from typing import Any, assert_type

from keevx_async import (
    APIError,
    ImageToVideo,
    Keevx,
    PollPolicy,
    RetryPolicy,
    Submission,
    SubmissionUncertain,
)
from keevx_async.events import Event, Exchange
from keevx_async.models import AspectRatio, Model, Resolution


async def key_of_the_vault() -> str:
    return "key"


def variables(model: Model, ratio: AspectRatio, resolution: Resolution, seconds: int) -> None:
    ImageToVideo(
        model=model,
        prompt="a dog",
        aspect_ratio=ratio,
        aspect_resolution=resolution,
        duration=seconds,
    )


def bodies(body: dict[str, Any], row: dict[str, object]) -> None:
    assert_type(ImageToVideo.from_dict(body), ImageToVideo)
    assert_type(ImageToVideo.from_dict(row), ImageToVideo)
    assert_type(ImageToVideo(**body), ImageToVideo)
    assert_type(ImageToVideo.json_schema(), dict[str, Any])


async def verbs(keevx: Keevx, request: ImageToVideo) -> None:
    patient = keevx.with_options(
        timeout=5, retry=RetryPolicy(), polling=PollPolicy(), headers={"x-team": "a"}
    )
    assert_type(patient, Keevx)
    assert_type(await patient.submit(request), Submission[ImageToVideo])
    assert_type(await keevx.ping(), float)
    task = await keevx.status("i2v-1")
    assert_type(task.to_dict(), dict[str, Any])
    await keevx.request("POST", "/v1/new", json={"a": [1, None]})


def keys() -> None:
    plain: Callable[[], str] = str
    waits: Callable[[], Awaitable[str]] = key_of_the_vault
    Keevx(plain)
    Keevx(waits)
    Keevx(api_key=lambda: "key")


def errors(error: Exception | None, event: Event) -> None:
    match error:
        case APIError(429, attempts=attempts, request_id=request_id, headers=headers):
            assert_type(attempts, int)
            assert_type(request_id, str)
            assert_type(headers, dict[str, str])
        case SubmissionUncertain(key=key):
            assert_type(key, str)
        case _:
            pass
    match event:
        case Exchange(method, path, status, seconds, key, attempt):
            assert_type((method, path, key), tuple[str, str, str])
            assert_type(status, int | None)
            assert_type(seconds, float)
            assert_type(attempt, int)
        case _:
            pass
