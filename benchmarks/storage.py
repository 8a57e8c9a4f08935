"""Write 200 results of 20 MB to a bucket, 16 at once: ``python -m benchmarks.storage``.

Needs the test group (moto's S3 server). The program is killed twice and run again. Only the program
is measured; the emulator and the bucket run outside it. The benchmark fails unless every object is
complete, no result is stored or charged twice, and no parts of uploads remain.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from keevx_async import ImageToVideo, Keevx, PollPolicy
from keevx_async.testing import Emulator
from tests.support.object_store import BUCKET, Bucket, an_object_store

PARALLEL = 16
PROGRAM = (sys.executable, "-m", "benchmarks.storage", "--program")


async def program(count: int, url: str, journal: str) -> None:
    """Run the job that gets killed and restarted; print its memory use at the start and the end."""
    requests = (
        ImageToVideo(
            model="V",
            prompt=f"take {number}",
            image_url="https://example.com/a.png",
            aspect_ratio="16:9",
            aspect_resolution="1080p",
            duration=8,
        )
        for number in range(count)
    )
    polling = PollPolicy(shortest=0.05, longest=0.5)
    async with Keevx("key", base_url=url, journal=journal, polling=polling) as keevx:
        print(json.dumps({"start": memory(os.getpid())}), flush=True)
        fan = await keevx.generate_many(
            requests,
            concurrency=PARALLEL,
            download=f"s3://{BUCKET}/films/{{index:05d}}-{{task_id}}",
            key=lambda request: request.prompt,
        )
        fan.raise_for_errors()
    print(json.dumps({"peak": memory(os.getpid(), "VmHWM")}), flush=True)


def memory(pid: int, field: str = "VmRSS") -> float:
    """Return a process's memory use in megabytes, as reported by Linux."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"no {field}")


async def run(count: int, url: str, bucket: Bucket, folder: Path, until: int) -> list[float]:
    """Run the program, and kill it after ``until`` objects; return its start and peak memory.

    Args:
        count: the number of results.
        url: the emulator's URL.
        bucket: the bucket that the results are written to.
        folder: the journal's folder.
        until: the number of objects after which the program is killed; more than ``count`` to let
            it finish.
    """
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *("--count", str(count), "--url", url, "--journal", str(folder / "run.db")),
        env=os.environ | bucket.env,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    start = json.loads(await process.stdout.readline())["start"]
    while process.returncode is None:
        if len(await asyncio.to_thread(bucket.objects)) >= until:
            peak = memory(process.pid, "VmHWM")
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
            return [start, peak]
        await asyncio.sleep(0.2)
    assert process.returncode == 0, "the program failed; its error is above"
    return [start, json.loads(await process.stdout.readline())["peak"]]


async def main(count: int, size: int) -> None:
    """Kill the program twice, let it finish the third time, and check all results."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name, an_object_store() as bucket:
        async with Emulator(seconds=0.5, video_bytes=size) as emulator:
            growth: list[float] = []
            for until in (count // 4, count * 3 // 5, count + 1):
                start, peak = await run(count, emulator.url, bucket, Path(name), until)
                there = len(bucket.objects())
                growth.append(peak - start)
                print(f"{there} objects, {peak - start:.0f} MB more memory at the peak", flush=True)
            seconds = time.monotonic() - began
            objects = bucket.objects()
            assert len(objects) == count == emulator.creates.total(), "twice, or missing"
            assert set(objects.values()) == {size}
            assert bucket.uploads() == 0, "parts were left behind"
            for path in objects:
                task_id = Path(path).stem.partition("-")[2]
                whole = sha256(emulator.video(task_id)).digest()
                assert sha256(await asyncio.to_thread(bucket.content, path)).digest() == whole
            fetched = emulator.requests["GET storage"]
    print(
        f"{count} results of {size / 1e6:.0f} MB in {seconds:.0f} s, killed twice: all whole, none "
        f"twice; {fetched} downloads; memory grew by {max(growth):.0f} MB at most"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--size", type=int, default=20_000_000)
    parser.add_argument("--program", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--journal", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.program:
        asyncio.run(program(given.count, given.url, given.journal))
    else:
        asyncio.run(main(given.count, given.size))
