"""The HTTP statuses by which KeevxService answers what stops a create."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import aiohttp
from fastapi import Body, FastAPI

from keevx_async import Budget, ImageToVideo
from keevx_async.contrib.fastapi import Client, KeevxService
from keevx_async.testing import Emulator
from tests.support.callbacks import loopback, under_uvicorn
from tests.support.client import keevx_of
from tests.support.service import Caller

CREATE = "POST /v1/image_to_video"


@asynccontextmanager
async def serving(
    emulator: Emulator, folder: Path, timeout: float | None = None, **settings: Any
) -> AsyncGenerator[Caller]:
    bound, origin = loopback()
    service = KeevxService(keevx_of(emulator, journal=folder / "run.db", **settings))
    app = FastAPI(lifespan=service.lifespan)
    service.install(app)

    async def order(video: Annotated[ImageToVideo, Body()], keevx: Client) -> dict[str, Any]:
        submission = await keevx.submit(video, key=video.prompt, timeout=timeout)
        return {"task_ids": submission.task_ids}

    app.post("/videos")(order)
    async with under_uvicorn(app, bound), aiohttp.ClientSession() as session:
        yield Caller(session, origin)


async def test_a_budget_that_is_used_up_is_the_services_own_limit(
    emulator: Emulator, tmp_path: Path
) -> None:
    async with serving(emulator, tmp_path, budget=Budget(videos=1)) as caller:
        assert (await caller.order("-", "the first"))[0] == 200
        status, answer = await caller.order("-", "the second")
        assert (status, answer["error"]) == (503, "BudgetExceeded")
        assert (await caller.order("-", "the first"))[0] == 200  # it is paid already
    assert emulator.requests[CREATE] == 1


async def test_an_order_that_takes_too_long_is_repeated_and_gets_its_ids(
    emulator: Emulator, tmp_path: Path
) -> None:
    emulator.faults.latency = 0.5
    async with serving(emulator, tmp_path, timeout=0.1) as caller:
        status, answer = await caller.order("-", "slow")
        assert (status, answer["error"]) == (504, "SubmissionPending")
        while status == 504:
            status, answer = await caller.order("-", "slow")
        assert (status, answer) == (200, {"task_ids": list(emulator.tasks)})
    assert emulator.requests[CREATE] == 1


async def test_an_empty_account_is_keevxs_refusal(emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults.no_funds_after = 0
    async with serving(emulator, tmp_path) as caller:
        status, answer = await caller.order("-")
    assert (status, answer["error"]) == (502, "InsufficientFunds")
