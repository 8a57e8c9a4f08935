"""The face is exactly the contract's, cheap to import, and reads nothing of its surroundings."""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

import keevx_async

pytestmark = pytest.mark.smoke

NAMES = {
    "Budget",
    "CallbackReceiver",
    "FanOut",
    "ImageGenerate",
    "ImageToVideo",
    "Journal",
    "Keevx",
    "MODELS",
    "ModelRules",
    "Outcome",
    "PollPolicy",
    "RetryPolicy",
    "Submission",
    "Task",
    "VideoTranslate",
    "APIError",
    "AuthenticationError",
    "BudgetExceeded",
    "CallbackRejected",
    "ConfigurationError",
    "ConnectionFailed",
    "DownloadError",
    "InsufficientFunds",
    "InvalidRequest",
    "JournalError",
    "KeevxError",
    "NotFoundError",
    "NotStarted",
    "RateLimitError",
    "ResponseError",
    "ServerError",
    "SubmissionPending",
    "SubmissionUncertain",
    "TaskFailed",
    "UploadError",
    "WaitTimeout",
}
OTHERS = ["display", "image_generate", "policies", "tasks", "video_translate"]
HEAVY = ["aiohttp", "cattrs", "sqlite3", "tenacity", *(f"keevx_async.{name}" for name in OTHERS)]


def test_all_is_exactly_the_contract() -> None:
    assert set(keevx_async.__all__) == NAMES
    assert len(keevx_async.__all__) == len(NAMES)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_name_is_there_and_seen(name: str) -> None:
    assert getattr(keevx_async, name) is not None
    assert name in dir(keevx_async)


def test_the_version_is_the_distribution_s() -> None:
    assert keevx_async.__version__ == version("keevx_async")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nonesuch"):
        _ = keevx_async.Nonesuch  # type: ignore[attr-defined]


def run(program: str) -> str:
    """What a program prints in a new, unmeasured interpreter (coverage imports sqlite3)."""
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=quiet, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "use",
    [
        "",
        "keevx_async.MODELS",
        "keevx_async.ImageToVideo(model='S', prompt='A kite', duration=4, aspect_ratio='16:9',"
        " aspect_resolution='720p', image_url='https://example.com/kite.jpg')",
    ],
    ids=["import", "rules", "request"],
)
def test_no_heavy_module_comes_along(use: str) -> None:
    program = f"import sys, keevx_async\n{use}\nprint(*(set({HEAVY}) & set(sys.modules)))"
    assert run(program) == ""


def test_import_reads_nothing_of_the_environment() -> None:
    program = """
import os
read, plain = [], type(os.environ).__getitem__
type(os.environ).__getitem__ = lambda self, name: (read.append(name), plain(self, name))[1]
import keevx_async
for name in keevx_async.__all__:
    getattr(keevx_async, name)
print(*(name for name in read if name.startswith("KEEVX_")))
"""
    os_environ = {"KEEVX_API_KEY": "not-to-be-read", "KEEVX_BASE_URL": "http://127.0.0.1:9"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in os_environ.items():
            patch.setenv(name, value)
        assert run(program) == ""
