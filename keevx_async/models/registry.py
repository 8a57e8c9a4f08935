"""The kinds of job that one key opens: one row each."""

from __future__ import annotations

from collections.abc import MutableMapping

from ..errors import InvalidRequest, Violation
from .image_generate import ImageGenerate
from .image_to_video import ImageToVideo
from .kinds import Kind
from .request import Request
from .validators import shown
from .video_translate import VideoTranslate

REQUESTS: MutableMapping[str, type[Request]] = {
    one.kind.name: one
    for one in (
        ImageToVideo,
        ImageGenerate,
        VideoTranslate,
    )
}
"""The requests of each kind, by the name that the journal and callbacks have for it."""


def kind_by_name(name: str) -> Kind:
    """Return a kind.

    Raises:
        InvalidRequest: there is none of that name.
    """
    if isinstance(name, str) and name in REQUESTS:
        return REQUESTS[name].kind
    message = f"must be one of {', '.join(REQUESTS)} (got {shown(name)})"
    raise InvalidRequest([Violation("kind", name, "allowed", message)])


def request_by_name(name: str) -> type[Request]:
    """Return the request of a kind.

    Raises:
        InvalidRequest: there is none of that name.
    """
    return REQUESTS[kind_by_name(name).name]


def kind_by_id(task_id: str) -> Kind | None:
    """Return the kind that an id's prefix tells, or None."""
    for one in REQUESTS.values():  # no generator: asked for each id that comes
        if task_id.startswith(one.kind.prefix):
            return one.kind
    return None
