"""Moving postcards: each order is charged once, however often it is delivered."""

from pathlib import Path

from keevx_async import ImageToVideo, Keevx


async def deliver(order: str, picture_url: str, text: str, folder: Path) -> Path:
    """Make an order's video and return its file; an earlier order is not charged again.

    Args:
        order: the order's number, which is the create's key in the journal.
        picture_url: the postcard's picture.
        text: what happens in the video.
        folder: where the video and the journal are saved.

    Raises:
        SubmissionUncertain: the create's response was lost; check your account before you reorder.
        APIError: Keevx refused the order.
        TaskFailed: Keevx could not make the video.
    """
    request = ImageToVideo(
        model="V",
        prompt=text,
        image_url=picture_url,
        aspect_ratio="16:9",
        aspect_resolution="720p",
        duration=4,
    )
    async with Keevx(journal=folder / "orders.db") as keevx:
        submission = await keevx.submit(request, key=order)
        task = await keevx.wait(submission.task_ids[0])
        return await keevx.download(task, folder / f"{order}.mp4", overwrite=True)
