"""All kinds along one path, over real sockets: made, asked about, waited for, none paid twice."""

import json
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from keevx_async import (
    APIError,
    AuthenticationError,
    ImageGenerate,
    InvalidRequest,
    Journal,
    NotFoundError,
    PollPolicy,
    VideoTranslate,
)
from keevx_async.client.kind_lookup import KindResolver
from keevx_async.http.decoding import decode_ids, decode_task
from keevx_async.http.verdict import api_error
from keevx_async.journal.encoding import record_of
from keevx_async.journal.null import NullJournal
from keevx_async.models.kinds import Kind
from keevx_async.models.registry import REQUESTS
from keevx_async.models.request import Request
from keevx_async.testing import Emulator, Faults
from tests.support.client import a_request, keevx_of, speaking
from tests.support.family import URL, a_translation, an_image, one_of_each
from tests.support.settling import called_back


async def test_one_client_makes_all_kinds_by_every_verb() -> None:
    async with speaking() as (emulator, keevx):
        for request in one_of_each():
            submission = await keevx.submit(request)
            assert len(submission.task_ids) == request.count
            assert (await keevx.wait(submission.task_ids[0])).succeeded
            assert (await keevx.status(submission.task_ids[-1])).task_id
            assert len(await keevx.generate(request)) == request.count
        fan = await keevx.generate_many(one_of_each())
        fan.raise_for_errors()
        assert len(fan.task_ids) == 10
    assert set(emulator.creates.values()) == {3}, "each verb once"


async def test_ids_of_all_kinds_mix_in_one_wait() -> None:
    async with speaking(fail_prompts={"no"}) as (_, keevx):
        ids = [*(await keevx.submit_many([*one_of_each(), an_image("no")])).task_ids]
        async with keevx_of(_) as another:  # knows of no submission
            ended = {task.task_id: task async for task in another.wait_many(ids)}
    assert ended.keys() == set(ids)
    assert [one.succeeded for one in ended.values()].count(False) == 1


async def test_a_task_has_the_results_of_its_kind() -> None:
    async with speaking() as (_, keevx):
        (video,) = await keevx.generate(a_request())
        (image,) = await keevx.generate(an_image())
        (dubbed,) = await keevx.generate(a_translation(enable_caption=True, name="demo"))
        (plain,) = await keevx.generate(a_translation("Chinese"))
    assert video.video_url
    assert (video.image_url, video.caption_url, video.language, video.name) == (None,) * 4
    assert image.image_url
    assert (image.video_url, image.caption_url, image.language) == (None,) * 3
    assert (dubbed.language, dubbed.name) == ("English", "demo")
    assert [*dubbed.results] == ["video_url", "caption_url"]
    assert [*plain.results] == ["video_url"]


async def test_an_id_without_a_known_prefix_needs_its_kind() -> None:
    async with speaking() as (emulator, keevx):
        with pytest.raises(InvalidRequest, match="'job-7' has an unknown kind; pass kind="):
            await keevx.status("job-7")
        with pytest.raises(InvalidRequest, match="has an unknown kind"):
            await keevx.wait("job-7")
        with pytest.raises(InvalidRequest, match=r"one of .*video_translate \(got 'films'\)"):
            await keevx.status("job-7", kind="films")
        assert not emulator.requests, "nothing was asked"
        with pytest.raises(NotFoundError):
            await keevx.status("job-7", kind="video_translate")
        assert emulator.requests == {"GET /v1/video_translate": 1}


def renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the vendor may do any day: other prefixes."""
    for request in REQUESTS.values():
        kind = evolve(request.kind, prefix=f"new-{request.kind.prefix}")
        monkeypatch.setattr(request, "kind", kind)


async def test_the_submission_knows_the_kind_of_ids_with_another_prefix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    renamed(monkeypatch)
    async with speaking() as (_, keevx):
        fan = await keevx.generate_many(one_of_each())
        fan.raise_for_errors()


async def test_the_journal_knows_the_kind_in_a_later_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    renamed(monkeypatch)
    async with Emulator(0.02) as emulator:
        async with keevx_of(emulator, journal=tmp_path / "run.db") as keevx:
            ids = (await keevx.submit_many(one_of_each())).task_ids
        async with keevx_of(emulator, journal=tmp_path / "run.db") as keevx:
            assert len([one async for one in keevx.wait_many(ids)]) == 10
        async with keevx_of(emulator) as keevx:
            given = keevx.wait_many(ids[1:9], kind="image_generate")
            assert len([one async for one in given]) == 8


async def test_a_kind_that_was_named_by_mistake_is_corrected() -> None:
    async with speaking() as (_, keevx):
        (task,) = await keevx.generate(an_image())
        with pytest.raises(NotFoundError):
            await keevx.status(task.task_id, kind="video_translate")
        assert (await keevx.status(task.task_id, kind="image_generate")).succeeded
        assert (await keevx.status(task.task_id)).succeeded


def test_little_is_remembered_of_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keevx_async.client.kind_lookup.MAX_REMEMBERED", 2)
    kinship, kind = KindResolver(NullJournal()), ImageGenerate.kind
    kinship.remember(["a", "b", "c", "i2is-1"], kind)  # the last one's prefix tells as much
    assert [kinship.lookup(one) for one in ("a", "b", "c", "i2is-1")] == [None, kind, kind, kind]


async def test_the_same_program_run_again_pays_for_no_kind_twice(tmp_path: Path) -> None:
    requests = one_of_each()
    async with Emulator(0.02) as emulator:
        found: list[Any] = []
        for _ in range(2):
            async with keevx_of(emulator, journal=tmp_path / "run.db") as keevx:
                fan = await keevx.generate_many(requests)
                fan.raise_for_errors()
                found.append([outcome.tasks for outcome in fan.outcomes])
        assert set(emulator.creates.values()) == {1}
    assert found[0] == found[1]
    async with Journal(tmp_path / "run.db") as journal:
        again = [
            REQUESTS[one.kind].from_dict(json.loads(one.body)) async for one in journal.entries()
        ]
    assert sorted(again, key=repr) == sorted(requests, key=repr)


def test_a_snapshot_of_an_earlier_version_is_read() -> None:
    old: dict[str, Any] = {
        "task_id": "i2v-1",
        "status": "SUCCEEDED",
        "video_url": URL,
        "thumbnail_url": None,
    }
    old |= {"error_message": "", "duration": 6, "width": 1, "height": 1}
    task = record_of((json.dumps(old), 0.0, None, None, None)).task
    assert (task.video_url, task.image_url, task.name) == (URL, None, None)


@pytest.mark.parametrize("fault", ["drop_after_create", "half_answer"])
async def test_callbacks_settle_uncertain_creates_of_all_kinds(fault: str) -> None:
    faults = Faults()
    setattr(faults, fault, 1.0)
    async with called_back(0.1, faults=faults) as (emulator, keevx, _):
        fan = await keevx.generate_many(one_of_each())
        fan.raise_for_errors()
        assert sorted(fan.task_ids) == sorted(emulator.tasks)
        assert set(emulator.creates.values()) == {1}


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [("image_to_video", 1800), ("image_generate", 900), ("video_translate", 10800)],
)
async def test_a_wait_is_as_long_as_its_kind_may_need(kind: str, seconds: float) -> None:
    async with speaking() as (emulator, _), keevx_of(emulator, polling=PollPolicy()) as keevx:
        waiter, found = keevx._components().waiter, REQUESTS[kind].kind
        assert waiter.default_timeout([found]) == seconds
        assert waiter.default_timeout([found, None]) == waiter.default_timeout([None]) == 10800
    async with keevx_of(emulator, polling=PollPolicy(timeout=None)) as keevx:
        assert keevx._components().waiter.default_timeout([found]) is None


def test_ids_are_read_in_either_shape_and_never_in_part() -> None:
    listed = [{"task_id": "vt-1", "language": "English"}, {"task_id": "vt-2"}]
    assert decode_ids(listed) == ("vt-1", "vt-2")
    odd: list[Any] = [[], [{}], [{"task_id": ""}], [*listed, {"id": "vt-3"}], ["vt-1"], [listed]]
    assert [decode_ids(one) for one in odd] == [None] * len(odd)


@pytest.mark.parametrize("request_", [a_request(), an_image(), a_translation()])
def test_what_a_task_was_made_from_is_not_among_its_results(request_: Request) -> None:
    kind: Kind = request_.kind
    data = {"task_id": "1", "status": "SUCCEEDED"}
    task = decode_task(data | {"video_url": URL, "image_url": URL, "caption_url": URL}, kind)
    assert task is not None
    assert tuple(task.results) == kind.results


async def test_a_kinds_own_code_is_not_taken_for_the_familys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """100002 is a wrong token elsewhere, and a parameter that is refused of image_generate."""
    monkeypatch.setattr(ImageGenerate, "violations", lambda self: ())
    async with speaking() as (_, keevx):
        with pytest.raises(APIError) as refused:
            await keevx.submit(an_image(image_ratio="1:2"))
    assert refused.value.code == 100002
    assert not isinstance(refused.value, AuthenticationError)


def test_an_image_that_is_not_found_is_said_to_be_so_by_a_code_of_its_kind() -> None:
    """110002 is image_generate's for what 100003 is elsewhere, whatever the HTTP status."""
    assert type(api_error(200, 110002, "", "", ImageGenerate.kind.codes)) is NotFoundError
    assert type(api_error(200, 110002, "", "", VideoTranslate.kind.codes)) is APIError
