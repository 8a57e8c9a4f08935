"""Writes keevx_async/models/signatures.py from MODELS: ``python -m tests.signatures``."""

from collections.abc import Iterator, Mapping
from inspect import getdoc
from pathlib import Path
from textwrap import indent

import keevx_async
from keevx_async import MODELS, ImageToVideo, ModelRules

PATH = Path(keevx_async.__file__).with_name("models") / "signatures.py"

MODULE = '''\
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
        """{docstring}
        """
{overloads}
        def __new__(cls, **fields: Any) -> Self: ...  # noqa: D102  # the class says it
else:
    from .image_to_video import ImageToVideo

__all__ = ["ImageToVideo"]
'''
OVERLOAD = """
        @overload  # {model}, {mode}
        def __new__(
            cls,
            *,
{arguments}
        ) -> Self: ...
"""
STARTED = "from a start frame"
REFERRING = "from references alone"


def written(models: Mapping[str, ModelRules]) -> str:
    """The module's text."""
    overloads = [
        OVERLOAD.format(model=model, mode=mode, arguments=arguments(model, rules, mode))
        for model, rules in models.items()
        for mode in modes(rules)
    ]
    docstring = indent(getdoc(ImageToVideo) or "", " " * 8).strip()
    return MODULE.format(docstring=docstring, overloads="".join(overloads))


def modes(rules: ModelRules) -> Iterator[str]:
    if rules.start_frame != "unused":
        yield STARTED
    if rules.start_frame != "required" and rules.max_references:
        yield REFERRING


def arguments(model: str, rules: ModelRules, mode: str) -> str:
    common = {
        "model": literal(model),
        "prompt": "str",
        "aspect_ratio": literal(*rules.aspect_ratios),
        "aspect_resolution": literal(*rules.resolutions),
        "duration": literal(*rules.durations_for(start_frame=mode == STARTED)),
    }
    free = {
        "generate_audio": "bool = False" if rules.audio else "Literal[False] = False",
        "generate_count": "int = 1",
        "callback_url": "str | None = None",
    }
    lines = (common | images(rules, mode) | free).items()
    return "\n".join(f"            {name}: {kind}," for name, kind in lines)


def images(rules: ModelRules, mode: str) -> dict[str, str]:
    none = "None = None"
    if mode == REFERRING:
        return {"image_url": none, "end_image_url": none, "reference_images": "ImageList"}
    return {
        "image_url": "str | Path | HasResults",
        "end_image_url": "str | Path | HasResults | None = None" if rules.end_frame else none,
        "reference_images": "ImageList = ()" if rules.max_references else "tuple[()] = ()",
    }


def literal(*values: str | int) -> str:
    listed = ", ".join(f'"{one}"' if isinstance(one, str) else str(one) for one in values)
    return f"Literal[{listed}]"


if __name__ == "__main__":
    PATH.write_text(written(MODELS), encoding="utf-8")
