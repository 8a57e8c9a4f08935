"""Each API's response to a create, in a fixed size; 32 percent signs stand for the id."""

from __future__ import annotations

import json

ID = "%" * 32
_WHEN = "2025-01-01T00:00:00.000000Z"

_KEEVX = {"code": 0, "msg": "ok", "data": {"task_ids": [f"i2v-{ID}"]}}
_FAL = {
    "request_id": ID,
    "response_url": f"http://localhost/fal/requests/{ID}",
    "status_url": f"http://localhost/fal/requests/{ID}/status",
    "cancel_url": f"http://localhost/fal/requests/{ID}/cancel",
}
_REPLICATE = {
    "id": ID,
    "model": "owner/model",
    "version": "v",
    "input": {"prompt": "a dog"},
    "status": "starting",
    "created_at": _WHEN,
    "urls": {"get": f"http://localhost/replicate/v1/predictions/{ID}"},
}
_RUNWAY = {"id": ID}
_LUMA = {"id": ID, "state": "queued", "created_at": _WHEN, "generation_type": "video"}
_OPENAI = {
    "id": ID,
    "object": "video",
    "model": "sora-2",
    "status": "queued",
    "progress": 0,
    "created_at": 1735689600,
    "seconds": "8",
    "size": "1280x720",
}


def _body(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


ANSWERS = {
    b"v1": _body(_KEEVX),
    b"fal": _body(_FAL),
    b"replicate": _body(_REPLICATE),
    b"runway": _body(_RUNWAY),
    b"luma": _body(_LUMA),
    b"openai": _body(_OPENAI),
}
"""The response bodies, by the first part of the path."""

PREFIXES = frozenset(ANSWERS)

_STATUS = _body(
    {
        "code": 0,
        "msg": "ok",
        "data": {
            "task_id": ID,
            "status": "PROCESSING",
            "video_url": "",
            "thumbnail_url": "",
            "error_message": "",
            "duration": 8,
            "width": 720,
            "height": 1280,
        },
    }
)


def status_answer(task_id: bytes, host: bytes = b"", size: int = 0) -> bytes:
    """Return the response body of a status query.

    Args:
        task_id: the task's id.
        host: the host of the task's results; if empty, the task is still in progress.
        size: the size of the task's video, in bytes.
    """
    answer = _STATUS.replace(ID.encode(), task_id)
    if not host:
        return answer
    files = b"http://%b/files/%%d/%b" % (host, task_id)
    answer = answer.replace(b"PROCESSING", b"SUCCEEDED")
    answer = answer.replace(b'"thumbnail_url":""', b'"thumbnail_url":"%b.webp"' % (files % 2000))
    return answer.replace(b'"video_url":""', b'"video_url":"%b.mp4"' % (files % size))
