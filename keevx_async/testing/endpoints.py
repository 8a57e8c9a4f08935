"""The endpoints of the family: a sister endpoint is one more row and its rules."""

from __future__ import annotations

from typing import Any

from . import vendor_rules as page
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


def _image(task: EmulatedTask, storage_url: str) -> dict[str, Any]:
    return {
        "image_url": f"{storage_url}/images/{task.task_id}/image_0.png",
        "thumbnail_url": f"{storage_url}/thumbs/{task.task_id}.webp",
    }


def _translated(task: EmulatedTask, storage_url: str) -> dict[str, Any]:
    body = task.body
    told = {"name": body.get("name") or "", "language": body["target_languages"][0]}
    told["video_url"] = f"{storage_url}/videos/{task.task_id}/sample_0.mp4"
    if body.get("enable_caption"):
        told["caption_url"] = f"{storage_url}/captions/{task.task_id}/caption_0.ass"
    return told


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
    Kind(
        name="image_generate",
        path="/v1/image_generate",
        prefix="i2is-",
        rules=page.image_generate,
        fields=page.IMAGE_GENERATE_FIELDS,
        blank={"image_url": "", "thumbnail_url": ""},
        result=_image,
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
        result=_translated,
        announced=("video_url", "caption_url"),
        subject=lambda body: f"{body['video_url']} in {body['target_languages'][0]}",
        answer=lambda tasks: [
            {"task_id": task.task_id, "language": task.body["target_languages"][0]}
            for task in tasks
        ],
        lists={"target_languages": page.LANGUAGES},
    ),
)
