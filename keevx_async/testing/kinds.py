"""The endpoints of the family: a sister endpoint is one more row and its rules."""

from __future__ import annotations

from typing import Any

from . import page
from .records import EmulatedTask, Kind


def _video(task: EmulatedTask, storage_url: str) -> dict[str, Any]:
    body = task.body
    wide, narrow = page.SIDES[body["aspect_resolution"]]
    width, height = (wide, narrow) if body["aspect_ratio"] == "16:9" else (narrow, wide)
    return {
        "video_url": f"{storage_url}/videos/{task.task_id}/sample_0.mp4",
        "thumbnail_url": f"{storage_url}/thumbs/{task.task_id}.webp",
        "duration": body["duration"],
        "width": width,
        "height": height,
    }


KINDS = (
    Kind(
        name="image_to_video",
        path="/v1/image_to_video",
        prefix="i2v-",
        rules=page.image_to_video,
        fields=page.IMAGE_TO_VIDEO_FIELDS,
        blank={"video_url": "", "thumbnail_url": "", "duration": 0, "width": 0, "height": 0},
        result=_video,
        announced=("video_url", "thumbnail_url"),
    ),
)
