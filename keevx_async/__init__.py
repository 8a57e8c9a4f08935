"""keevx_async: an asyncio-first SDK for the Keevx image-to-video API.

Start with ``from keevx_async import Keevx, ImageToVideo``. Importing the package loads only the
errors and ImageToVideo; other names are loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    APIError,
    AuthenticationError,
    BudgetExceeded,
    CallbackRejected,
    ConfigurationError,
    ConnectionFailed,
    DownloadError,
    InsufficientFunds,
    InvalidRequest,
    JournalError,
    KeevxError,
    NotFoundError,
    NotStarted,
    RateLimitError,
    ResponseError,
    ServerError,
    SubmissionPending,
    SubmissionUncertain,
    TaskFailed,
    UploadError,
    WaitTimeout,
)
from .models.image_to_video import ImageToVideo
from .models.rules import MODELS, ModelRules
from .settings import VERSION

if TYPE_CHECKING:
    from .client.fanout import FanOut
    from .client.keevx import Keevx
    from .journal.sqlite import Journal
    from .models.image_generate import ImageGenerate
    from .models.outcomes import Outcome, Submission
    from .models.tasks import Task
    from .models.video_translate import VideoTranslate
    from .settings import Budget, PollPolicy, RetryPolicy
    from .submission.callbacks import CallbackReceiver
else:
    # A script that only builds and checks requests should not wait for aiohttp and sqlite3 to load,
    # so these modules are imported when a name is first used (PEP 562).
    _LAZY = {
        "Budget": ".settings",
        "CallbackReceiver": ".submission.callbacks",
        "Keevx": ".client.keevx",
        "FanOut": ".client.fanout",
        "ImageGenerate": ".models.image_generate",
        "Journal": ".journal.sqlite",
        "PollPolicy": ".settings",
        "RetryPolicy": ".settings",
        "Outcome": ".models.outcomes",
        "Submission": ".models.outcomes",
        "Task": ".models.tasks",
        "VideoTranslate": ".models.video_translate",
    }

    def __getattr__(name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_LAZY[name], __name__), name)
        return value


__version__ = VERSION

__all__ = [
    "MODELS",
    "APIError",
    "AuthenticationError",
    "Budget",
    "BudgetExceeded",
    "CallbackReceiver",
    "CallbackRejected",
    "ConfigurationError",
    "ConnectionFailed",
    "DownloadError",
    "FanOut",
    "ImageGenerate",
    "ImageToVideo",
    "InsufficientFunds",
    "InvalidRequest",
    "Journal",
    "JournalError",
    "Keevx",
    "KeevxError",
    "ModelRules",
    "NotFoundError",
    "NotStarted",
    "Outcome",
    "PollPolicy",
    "RateLimitError",
    "ResponseError",
    "RetryPolicy",
    "ServerError",
    "Submission",
    "SubmissionPending",
    "SubmissionUncertain",
    "Task",
    "TaskFailed",
    "UploadError",
    "VideoTranslate",
    "WaitTimeout",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
