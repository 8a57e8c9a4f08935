"""The face as the type checkers see it. Checked by mypy and pyright, never run.

A line that must be refused carries both checkers' ignores: each complains if it is not needed.
"""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import assert_type

import aiohttp

from keevx_async import (
    MODELS,
    APIError,
    FanOut,
    ImageToVideo,
    InvalidRequest,
    Keevx,
    ModelRules,
    Outcome,
    PollPolicy,
    RetryPolicy,
    Submission,
    SubmissionUncertain,
    Task,
    TaskFailed,
    WaitTimeout,
)
from keevx_async.models.request import Request
from keevx_async.notebook import progress


def make(prompt: str) -> ImageToVideo:
    return ImageToVideo(
        model="V",
        prompt=prompt,
        aspect_ratio="16:9",
        aspect_resolution="1080p",
        duration=6,
        image_url=Path("start.jpg"),
        end_image_url="https://example.com/end.jpg",
        reference_images=["https://example.com/a.jpg", Path("b.jpg")],
        generate_audio=True,
        generate_count=2,
        callback_url="https://example.com/callback",
    )


async def stream() -> AsyncIterator[ImageToVideo]:
    yield make("A kite")


def by_prompt(request: ImageToVideo) -> str:
    return request.prompt


def settings(session: aiohttp.ClientSession) -> None:
    Keevx()
    Keevx("key", base_url="http://127.0.0.1:1", headers={"source": "skill"}, max_connections=10)
    Keevx(api_key="key", rate=5, timeout=30, session=session)
    Keevx(rate=0.5, timeout=aiohttp.ClientTimeout(total=30))
    Keevx(retry=RetryPolicy(), polling=PollPolicy())
    MODELS["F"] = ModelRules(resolutions=("720p",), durations=(4,))
    assert_type(MODELS["F"], ModelRules)


def requests() -> None:
    request = make("A kite")
    assert_type(request.model, str)
    assert_type(ImageToVideo.from_dict(request.to_dict()), ImageToVideo)
    request.prompt = "Another"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    ImageToVideo(model="V")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ImageToVideo("V")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def one(request: ImageToVideo) -> None:
    async with Keevx() as keevx:
        assert_type(keevx, Keevx)
        submission = await keevx.submit(request)
        assert_type(submission, Submission)
        assert_type(submission.request, ImageToVideo)
        assert_type(submission.key, str)
        assert_type(submission.task_ids[0], str)
        await keevx.submit(request, key="mine")

        assert_type(await keevx.status("i2v-1"), Task)
        task = await keevx.wait("i2v-1", timeout=60)
        assert_type(task, Task)
        assert_type(task.status, str)
        assert_type(task.done, bool)
        assert_type(task.succeeded, bool)
        assert_type(task.video_url, str | None)

        assert_type(await keevx.upload(Path("start.jpg")), str)
        assert_type(await keevx.upload(b"bytes", filename="start.jpg"), str)
        assert_type(await keevx.upload(io.BytesIO(), filename="start.jpg"), str)
        assert_type(await keevx.download(task, "videos/"), Path)
        assert_type(await keevx.download("https://example.com/1.mp4", Path("v.mp4")), Path)
        await keevx.download(task, "videos/", overwrite=True)
        assert_type(await keevx.generate(request), list[Task])

        await keevx.submit("A kite")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
        await keevx.submit(request, "mine")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(await keevx.close(), None)


async def many(keevx: Keevx, requests: list[ImageToVideo]) -> None:
    assert_type(await keevx.submit_many(requests), FanOut)
    await keevx.submit_many(stream(), concurrency=64)
    await keevx.submit_many((make(word) for word in ("kite", "dog")), key=by_prompt)
    await keevx.submit_many(requests, key=lambda request: request.prompt)
    await keevx.submit_many(requests, key=lambda request: request.promt)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownLambdaType]
    result = await keevx.generate_many(requests, concurrency=8, download="videos/")
    assert_type(result, FanOut)
    assert_type(result.outcomes[0], Outcome)
    assert_type(result.task_ids[0], str)
    first: Exception = result.errors[0]
    print(first)
    assert_type(result.raise_for_errors(), None)

    async for outcome in keevx.generate_many(stream(), download=Path("videos")):
        assert_type(outcome, Outcome)
        assert_type(outcome.index, int)
        assert_type(outcome.request, ImageToVideo)
        assert_type(outcome.key, str)
        assert_type(outcome.ok, bool)
        assert_type(outcome.uncertain, bool)
        assert_type(outcome.task_ids[0], str)
        assert_type(outcome.tasks[0], Task)
        assert_type(outcome.paths[0], Path)
        what: Exception | None = outcome.error
        print(what)

    assert_type(await progress(keevx.generate_many(requests)), FanOut)
    async for shown in progress(keevx.submit_many(stream()), total=10):
        assert_type(shown, Outcome)
    assert_type(result.counts.ok, int)
    assert_type(result.counts.total, int | None)
    progress(requests)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    async for task in keevx.wait_many(["i2v-1", "i2v-2"], timeout=60):
        assert_type(task, Task)


def told(outcome: Outcome) -> str:
    return f"{outcome.request.prompt}: {outcome.error or outcome.paths}"


async def of_any_kind(keevx: Keevx, requests: list[Request]) -> None:
    result = await keevx.submit_many(requests, key=lambda request: request.kind.name)
    assert_type(result, FanOut[Request])
    assert_type(result.outcomes[0], Outcome[Request])
    wider(await keevx.submit_many([make("A kite")]))


def wider(fan: FanOut[Request]) -> None:
    assert_type(fan.outcomes[0].request, Request)


async def errors(keevx: Keevx, request: ImageToVideo) -> None:
    try:
        await keevx.generate(request)
    except InvalidRequest as error:
        assert_type(error.violations[0].field, str)
        assert_type(error.violations[0].rule, str)
        assert_type(error.violations[0].message, str)
        value_error: ValueError = error
        raise value_error from None
    except APIError as error:
        assert_type(error.status, int)
        assert_type(error.code, int | None)
        assert_type(error.msg, str)
        assert_type(error.body, str)
    except SubmissionUncertain as error:
        assert_type(error.key, str)
        print(error.request)
    except TaskFailed as error:
        print(error.task)
    except WaitTimeout as error:
        assert_type(error.pending[0], str)
        print(error.done)
