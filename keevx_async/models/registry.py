"""The request class for each kind of job, looked up by the kind's name or by a task id."""

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
    request.kind.name: request
    for request in (
        ImageToVideo,
        ImageGenerate,
        VideoTranslate,
    )
}
"""The request class for each kind, by the name that the journal and callbacks use."""


def kind_by_name(name: str) -> Kind:
    """Return the kind with the given name, such as ``image_to_video``.

    Raises:
        InvalidRequest: no kind has that name; the message lists all kinds.
    """
    if isinstance(name, str) and name in REQUESTS:
        return REQUESTS[name].kind
    message = f"must be one of {', '.join(REQUESTS)} (got {shown(name)})"
    raise InvalidRequest([Violation("kind", name, "allowed", message)])


def request_by_name(name: str) -> type[Request]:
    """Return the request class of the kind with the given name.

    Raises:
        InvalidRequest: no kind has that name; the message lists all kinds.
    """
    return REQUESTS[kind_by_name(name).name]


def kind_by_id(task_id: str) -> Kind | None:
    """Return the kind whose prefix the id starts with, or None.

    None means that the id has another form, so its kind must come from the caller, the journal or
    Keevx.
    """
    # A loop rather than a dict by prefix, because the prefixes differ in length.
    for request in REQUESTS.values():
        if task_id.startswith(request.kind.prefix):
            return request.kind
    return None
