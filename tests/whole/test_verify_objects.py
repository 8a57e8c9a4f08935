"""Results in a bucket are compared with their requests too, by the ranges that a probe needs."""

import shutil

import pytest

from keevx_async.models.object_path import ObjectPath
from keevx_async.testing import Emulator
from keevx_async.transfer import probe
from tests.support.client import a_request, keevx_of
from tests.support.probing import HAS_AV

pytest.importorskip("moto")
pytest.importorskip("obstore")
from tests.support.object_store import BUCKET, Bucket

pytestmark = [
    pytest.mark.xdist_group("object store"),
    pytest.mark.skipif(not HAS_AV, reason="needs PyAV"),
]


async def outcomes_of(where: str) -> dict[str, tuple[str, ...]]:
    """The mismatches by prompt, of two videos that are as they should be but for the seconds."""
    async with Emulator(seconds=0.02, video_bytes=3_000_000) as emulator:
        async with keevx_of(emulator) as client:
            (task,) = await client.generate(a_request("short", duration=4))
        async with keevx_of(emulator, verify="probe") as client:
            fan = await client.generate_many([a_request("fine")], download=where)
            fan.raise_for_errors()
            (path,) = fan.outcomes[0].paths
            await client.download(task, str(path), overwrite=True)
            again = probe.verify_file(path, fan.outcomes[0].request)
    return {"fine": fan.outcomes[0].mismatches, "short": again}


async def test_an_object_is_probed_where_it_is(bucket: Bucket) -> None:
    found = await outcomes_of(f"s3://{BUCKET}/probed/")
    assert found == {"fine": (), "short": ("plays 4.0 s instead of 6 s",)}


async def test_without_pyav_an_object_is_not_compared(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    async with Emulator(seconds=0.02) as emulator, keevx_of(emulator, verify="probe") as client:
        fan = await client.generate_many([a_request()], download=f"s3://{BUCKET}/unprobed/")
    fan.raise_for_errors()
    assert fan.outcomes[0].mismatches == ()


async def test_an_object_that_is_gone_is_not_an_error(bucket: Bucket) -> None:
    path = ObjectPath(f"s3://{BUCKET}/gone.mp4")
    (mismatch,) = probe.verify_file(path, a_request())
    assert mismatch.startswith(f"cannot be probed: cannot read s3://{BUCKET}/gone.mp4: ")
