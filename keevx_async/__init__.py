"""keevx_async: an asyncio-first SDK for the Keevx image-to-video API.

Making and checking requests imports neither aiohttp nor tenacity: the client comes when named.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    APIError,
    AuthenticationError,
    CallbackRejected,
    ConfigurationError,
    ConnectionFailed,
    DownloadError,
    InvalidRequest,
    JournalError,
    KeevxError,
    NotFoundError,
    RateLimitError,
    ResponseError,
    ServerError,
    SubmissionUncertain,
    TaskFailed,
    UploadError,
    WaitTimeout,
)
from .image_generate import ImageGenerate
from .policies import PollPolicy, RetryPolicy
from .rules import MODELS, ModelRules
from .signatures import ImageToVideo
from .tasks import Outcome, Submission, Task
from .version import VERSION
from .video_translate import VideoTranslate

if TYPE_CHECKING:
    from .callbacks import CallbackReceiver
    from .client import Keevx
    from .fanout import FanOut
    from .journal import Journal
else:
    _LAZY = {
        "CallbackReceiver": ".callbacks",
        "Keevx": ".client",
        "FanOut": ".fanout",
        "Journal": ".journal",
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
    "CallbackReceiver",
    "CallbackRejected",
    "ConfigurationError",
    "ConnectionFailed",
    "DownloadError",
    "FanOut",
    "ImageGenerate",
    "ImageToVideo",
    "InvalidRequest",
    "Journal",
    "JournalError",
    "Keevx",
    "KeevxError",
    "ModelRules",
    "NotFoundError",
    "Outcome",
    "PollPolicy",
    "RateLimitError",
    "ResponseError",
    "RetryPolicy",
    "ServerError",
    "Submission",
    "SubmissionUncertain",
    "Task",
    "TaskFailed",
    "UploadError",
    "VideoTranslate",
    "WaitTimeout",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
