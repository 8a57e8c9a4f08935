"""docs/examples/in_a_thread.py: one client per process for code that is not async."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from keevx_async.testing import Emulator
from keevx_async.testing.threads import serving
from tests.support.service import EXAMPLES

# As under gunicorn's --preload or in Celery's pool: the parent may have used it, then forks.
PROGRAM = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from in_a_thread import call, close
from keevx_async import ImageToVideo

def order(key):
    request = ImageToVideo(
        model="V", prompt=key, image_url="https://example.com/a.png",
        aspect_ratio="16:9", aspect_resolution="720p", duration=4,
    )
    return call(lambda keevx: keevx.submit(request, key=key, timeout=20)).task_ids

if "--used" in sys.argv:
    os.environ["JOURNAL"] = "parent.db"
    order("parent")
child = os.fork()
if not child:
    os.environ["JOURNAL"] = "child.db"
    with ThreadPoolExecutor(4) as threads:
        ids = list(threads.map(order, ["a", "b", "a", "a"]))
    assert ids[0] == ids[2] == ids[3] != ids[1], ids
    close()
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("used", [[], ["--used"]])
def test_each_process_and_all_of_its_threads_have_one_client(
    tmp_path: Path, used: list[str]
) -> None:
    # Python 3.12 and newer warn of a fork with threads, which is what this is about.
    warnings = ["-W", "error::ResourceWarning", "-W", "ignore:This process:DeprecationWarning"]
    command = [sys.executable, *warnings, "-c", PROGRAM, *used]
    with serving(Emulator(0.05)) as emulator:
        environment = os.environ | {
            "PYTHONPATH": f"{EXAMPLES}:{EXAMPLES.parents[1]}",
            "KEEVX_BASE_URL": emulator.url,
            "KEEVX_API_KEY": "test-key",
        }
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert emulator.creates == {"a": 1, "b": 1} | dict.fromkeys(["parent"] * len(used), 1)
