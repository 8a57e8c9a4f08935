"""ImageToVideo as type checkers see it: one signature for each model and mode of MODELS.

Written by ``python -m tests.signatures``, and not by hand. When it runs, it is the class of
image_to_video itself, so a request costs nothing more. The signatures belong to __new__ of a
subclass, because mypy's attrs plugin writes its own __init__ over one in the class.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any, Literal, Self, overload

    from .image_to_video import ImageToVideo as _ImageToVideo
    from .sources import HasResults, ImageList

    class ImageToVideo(_ImageToVideo):
        """One image-to-video job, fields named as the API names them.

        Source: the vendor's create page, "Create Image to Video Task". Type checkers know what each
        model takes (``signatures``). Values of plain ``str`` and ``int``, and models of your own in
        ``MODELS``, come in by ``from_dict(values)``, or ``ImageToVideo(**values)`` with a
        ``dict[str, Any]``: they are checked when made, as all are. Where an image is asked for, a
        task that has made one will do.

        Args:
            model: ``V``, ``KL`` or ``S``; see ``MODELS``.
            prompt: 1 to 1000 characters.
            aspect_ratio: ``16:9`` or ``9:16``.
            aspect_resolution: ``720p``, ``1080p`` or ``4k``, as the model takes.
            duration: seconds, as the model takes.
            image_url: start frame: a URL, or a ``pathlib.Path`` that is uploaded when submitted.
            end_image_url: end frame, likewise; needs a start frame.
            reference_images: up to three (V) or seven (KL) of the same.
            generate_audio: V only.
            generate_count: number of videos, 1 to 4; one task id each.
            callback_url: notified when a task ends.

        Raises:
            InvalidRequest: with every violation.
        """

        @overload  # V, from a start frame
        def __new__(
            cls,
            *,
            model: Literal["V"],
            prompt: str,
            aspect_ratio: Literal["16:9", "9:16"],
            aspect_resolution: Literal["720p", "1080p", "4k"],
            duration: Literal[4, 6, 8],
            image_url: str | Path | HasResults,
            end_image_url: str | Path | HasResults | None = None,
            reference_images: ImageList = (),
            generate_audio: bool = False,
            generate_count: int = 1,
            callback_url: str | None = None,
        ) -> Self: ...

        @overload  # V, from references alone
        def __new__(
            cls,
            *,
            model: Literal["V"],
            prompt: str,
            aspect_ratio: Literal["16:9", "9:16"],
            aspect_resolution: Literal["720p", "1080p", "4k"],
            duration: Literal[8],
            image_url: None = None,
            end_image_url: None = None,
            reference_images: ImageList,
            generate_audio: bool = False,
            generate_count: int = 1,
            callback_url: str | None = None,
        ) -> Self: ...

        @overload  # KL, from references alone
        def __new__(
            cls,
            *,
            model: Literal["KL"],
            prompt: str,
            aspect_ratio: Literal["16:9", "9:16"],
            aspect_resolution: Literal["720p", "1080p"],
            duration: Literal[5, 10],
            image_url: None = None,
            end_image_url: None = None,
            reference_images: ImageList,
            generate_audio: Literal[False] = False,
            generate_count: int = 1,
            callback_url: str | None = None,
        ) -> Self: ...

        @overload  # S, from a start frame
        def __new__(
            cls,
            *,
            model: Literal["S"],
            prompt: str,
            aspect_ratio: Literal["16:9", "9:16"],
            aspect_resolution: Literal["720p"],
            duration: Literal[4, 8, 12],
            image_url: str | Path | HasResults,
            end_image_url: None = None,
            reference_images: tuple[()] = (),
            generate_audio: Literal[False] = False,
            generate_count: int = 1,
            callback_url: str | None = None,
        ) -> Self: ...

        def __new__(cls, **fields: Any) -> Self: ...  # noqa: D102  # the class says it
else:
    from .image_to_video import ImageToVideo

__all__ = ["ImageToVideo"]
