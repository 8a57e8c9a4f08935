"""Postcards that move: each order is one paid video, however often it is asked for."""

from pathlib import Path

from keevx_async import ImageToVideo, Keevx


async def deliver(order: str, picture_url: str, text: str, folder: Path) -> Path:
    """Make an order's video, or find the one that was made, and return its file.

    Args:
        order: the order's number, which stands for the create in the journal.
        picture_url: the postcard's picture.
        text: what is to happen in it.
        folder: where the video and the journal go.

    Raises:
        SubmissionUncertain: the create's answer was lost; look before you order anew.
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
