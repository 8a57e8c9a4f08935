"""Images that lie in a bucket: read when they are submitted, uploaded like local ones."""

from pathlib import Path
from typing import Any

import pytest

from keevx_async import Journal, UploadError
from keevx_async.events import Warned
from keevx_async.testing import Emulator
from keevx_async.transfer import object_storage
from tests.support.cli import at, keevx, written
from tests.support.client import a_request, keevx_of

pytest.importorskip("moto")
pytest.importorskip("obstore")
pytest.importorskip("PIL")
from tests.support.object_store import BUCKET, Bucket

pytestmark = pytest.mark.xdist_group("object store")
START = f"s3://{BUCKET}/frames/start.png"


@pytest.fixture
def content(bucket: Bucket, tmp_path: Path) -> bytes:
    """The bytes of START, a picture of another ratio than the video."""
    import obstore
    from PIL import Image

    path = tmp_path / "start.png"
    Image.new("RGB", (1600, 1200), "teal").save(path)
    obstore.put(object_storage._store(f"s3://{BUCKET}"), "frames/start.png", path.read_bytes())
    return path.read_bytes()


async def test_an_object_is_uploaded_and_known_by_its_address(
    content: bytes, tmp_path: Path
) -> None:
    journal, events = tmp_path / "run.db", list[Any]()
    request = a_request(image_url=START, end_image_url=START)
    async with Emulator() as emulator:
        ids: list[str] = []
        for _ in range(2):
            async with keevx_of(emulator, journal=journal, on_event=events.append) as client:
                ids += (await client.submit(request)).task_ids
        assert emulator.creates.total() == 1, "the second run found it in the journal"
        body = emulator.tasks[ids[0]].body
        assert ids[0] == ids[1]
        assert emulator.content(body["image_url"]) == content
        assert body["end_image_url"] == body["image_url"]
        (upload,) = emulator.uploads.values()
        assert upload.name == "start.png"
        (warned,) = [event for event in events if isinstance(event, Warned)]
        assert "ratio" in {warning.rule for warning in warned.warnings}
    async with Journal(journal) as opened:
        (entry,) = [entry async for entry in opened.entries()]
    assert START in str(entry)


async def test_an_object_is_made_to_fit(content: bytes) -> None:
    async with Emulator() as emulator, keevx_of(emulator, fit="crop") as client:
        (task_id,) = (await client.submit(a_request(image_url=START))).task_ids
        body = emulator.tasks[task_id].body
        sent = emulator.content(body["image_url"])
    assert sent is not None
    assert sent != content


async def test_an_object_that_is_not_there_costs_nothing(bucket: Bucket) -> None:
    request = a_request(image_url=f"s3://{BUCKET}/missing.png")
    async with Emulator() as emulator, keevx_of(emulator) as client:
        with pytest.raises(UploadError, match=rf"cannot read s3://{BUCKET}/missing\.png: "):
            await client.submit(request)
        assert emulator.creates.total() == 0


async def test_a_file_of_prompts_names_objects(content: bytes, tmp_path: Path) -> None:
    row = a_request(image_url=START).to_dict()
    prompts = written(tmp_path / "prompts.jsonl", [row])
    async with Emulator(seconds=0.02) as emulator:
        ran = await keevx("run", prompts, "--out", "videos", cwd=tmp_path, **at(emulator))
        assert ran.code == 0, ran.err
        assert [upload.name for upload in emulator.uploads.values()] == ["start.png"]
