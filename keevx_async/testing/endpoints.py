"""The kinds of job that the Emulator serves, one row each, and their result fields."""

from __future__ import annotations

from typing import Any

from . import vendor_rules as page
from .contents import frame_size
from .records import EmulatedTask, Kind


def video_result(task: EmulatedTask, storage_url: str) -> dict[str, Any]:
    """Return a finished video's fields. The width and height follow from the create."""
    body = task.body
    width, height = frame_size(body)
    return {
        "video_url": f"{storage_url}/videos/{task.task_id}/sample_0.mp4",
        "thumbnail_url": f"{storage_url}/thumbs/{task.task_id}.webp",
        "duration": body["duration"],
        "width": width,
        "height": height,
    }


def image_result(task: EmulatedTask, storage_url: str) -> dict[str, Any]:
    """Return a finished image's fields."""
    return {
        "image_url": f"{storage_url}/images/{task.task_id}/image_0.png",
        "thumbnail_url": f"{storage_url}/thumbs/{task.task_id}.webp",
    }


def translation_result(task: EmulatedTask, storage_url: str) -> dict[str, Any]:
    """Return a finished translation's fields, including captions if the create enabled them."""
    body = task.body
    fields = {"name": body.get("name") or "", "language": body["target_languages"][0]}
    fields["video_url"] = f"{storage_url}/videos/{task.task_id}/sample_0.mp4"
    if body.get("enable_caption"):
        fields["caption_url"] = f"{storage_url}/captions/{task.task_id}/caption_0.ass"
    return fields


KINDS = (
    Kind(
        name="image_to_video",
        path="/v1/image_to_video",
        prefix="i2v-",
        rules=page.image_to_video,
        fields=page.IMAGE_TO_VIDEO_FIELDS,
        blank={"video_url": "", "thumbnail_url": "", "duration": 0, "width": 0, "height": 0},
        result=video_result,
        announced=("video_url", "thumbnail_url"),
    ),
    Kind(
        name="image_generate",
        path="/v1/image_generate",
        prefix="i2is-",
        rules=page.image_generate,
        fields=page.IMAGE_GENERATE_FIELDS,
        blank={"image_url": "", "thumbnail_url": ""},
        result=image_result,
        announced=("image_url", "thumbnail_url"),
        working=("GENERATING", "GENERATING"),
    ),
    Kind(
        name="video_translate",
        path="/v1/video_translate",
        prefix="vt-",
        rules=page.video_translate,
        fields=page.VIDEO_TRANSLATE_FIELDS,
        blank={"name": "", "language": "", "video_url": "", "caption_url": ""},
        result=translation_result,
        announced=("video_url", "caption_url"),
        subject=lambda body: f"{body['video_url']} in {body['target_languages'][0]}",
        answer=lambda tasks: [
            {"task_id": task.task_id, "language": task.body["target_languages"][0]}
            for task in tasks
        ],
        lists={"target_languages": page.LANGUAGES},
    ),
)
