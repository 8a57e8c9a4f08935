"""The installed pytest plugin, as users have it: in pytest processes of their own."""

import asyncio
import gc
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from keevx_async import Keevx
from keevx_async.testing import Emulator
from keevx_async.testing.threads import serving
from tests.support.client import a_request

PROJECT = Path(__file__).parent.parent.parent / "docs" / "examples" / "project"

IMPORTS = """
import asyncio, os, sys
import pytest
from keevx_async import ImageToVideo, Keevx

REQUEST = ImageToVideo(
    model="V", prompt="a dog runs", image_url="https://example.com/start.jpg",
    aspect_ratio="16:9", aspect_resolution="1080p", duration=6,
)

async def make(emulator):
    async with Keevx() as keevx:
        (task,) = await keevx.generate(REQUEST)
    assert task.task_id in emulator.tasks
    assert emulator.creates.total() == 1
"""
ASYNCIO = "asyncio_default_fixture_loop_scope = function"
SYNCHRONOUS = "def test_it(keevx_emulator):\n    asyncio.run(make(keevx_emulator))\n"
# The environment is as before once the test has ended.
AFTER = "def test_later():\n    assert not [one for one in os.environ if 'KEEVX' in one]\n"
ASYNCHRONOUS = "async def test_it(keevx_emulator):\n    await make(keevx_emulator)\n"
ON_ANYIO = """
@pytest.fixture
def anyio_backend(): return "asyncio"
@pytest.mark.anyio
"""


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "pytest", "-W", "error"]
    return subprocess.run(
        [*command, "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def passes(folder: Path, source: str, ini: str, *arguments: str) -> None:
    (folder / "pytest.ini").write_text(f"[pytest]\n{ini}\n")
    (folder / "test_theirs.py").write_text(IMPORTS + source)
    ran = run_pytest(folder, *arguments)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout


@pytest.mark.smoke
@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "ini", "arguments"),
    [
        pytest.param(SYNCHRONOUS + AFTER, "", "-p no:asyncio -p no:anyio", id="neither plugin"),
        pytest.param(ASYNCHRONOUS, f"{ASYNCIO}\nasyncio_mode = auto", "", id="asyncio, auto"),
        pytest.param(
            f"@pytest.mark.asyncio\n{ASYNCHRONOUS}",
            f"{ASYNCIO}\nasyncio_mode = strict",
            "-p no:anyio",
            id="asyncio, strict",
        ),
        pytest.param(ON_ANYIO + ASYNCHRONOUS, "", "-p no:asyncio", id="anyio"),
    ],
)
def test_the_fixture_serves_tests_of_every_kind(
    tmp_path: Path, source: str, ini: str, arguments: str
) -> None:
    passes(tmp_path, source, ini, *arguments.split())


@pytest.mark.slow
def test_naming_it_in_pytest_plugins_too_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["keevx_async.testing.plugin"]\n')
    passes(tmp_path, SYNCHRONOUS, ASYNCIO)


@pytest.mark.slow
def test_those_who_do_not_use_it_do_not_import_aiohttp(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{ASYNCIO}\n")
    (tmp_path / "test_theirs.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    assert 'keevx_async.testing.plugin' in sys.modules\n"
        "    assert 'aiohttp' not in sys.modules\n"
    )
    ran = run_pytest(tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the example project."""
    return Path(shutil.copytree(PROJECT, tmp_path / "project"))


@pytest.mark.slow
def test_the_example_project_passes(project: Path) -> None:
    ran = run_pytest(project)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "5 passed" in ran.stdout


@pytest.mark.slow
def test_the_example_project_notices_when_an_order_is_paid_twice(project: Path) -> None:
    module = project / "postcards.py"
    source = module.read_text()
    without = source.replace('Keevx(journal=folder / "orders.db")', "Keevx()")
    assert without != source
    module.write_text(without)
    ran = run_pytest(project)
    assert ran.returncode == 1
    assert "2 failed, 3 passed" in ran.stdout


def test_an_emulator_in_a_thread_leaves_nothing_behind() -> None:
    before = set(threading.enumerate())

    async def once(url: str) -> None:
        async with Keevx("test-key", base_url=url) as keevx:
            await keevx.submit(a_request())

    with serving(Emulator()) as emulator:
        asyncio.run(once(emulator.url))
    gc.collect()  # an unclosed socket would warn, which is an error
    assert set(threading.enumerate()) <= before
    assert emulator.creates.total() == 1


def test_an_emulator_in_a_thread_ends_with_its_test_when_that_fails() -> None:
    before = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError), serving(Emulator()):
        raise ZeroDivisionError
    assert set(threading.enumerate()) <= before


def test_an_emulator_that_cannot_listen_says_so_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with serving(Emulator()) as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(OSError, match="address already in use"), serving(Emulator(port=port)):
            pass
    assert set(threading.enumerate()) <= before


@pytest.mark.asyncio
async def test_only_its_own_event_loop_may_stop_an_emulator() -> None:
    with serving(Emulator()) as emulator:
        with pytest.raises(RuntimeError, match=r"another event loop.*`async with Emulator\(\)`"):
            await emulator.stop()
        async with Keevx("test-key", base_url=emulator.url) as keevx:
            await keevx.submit(a_request())
