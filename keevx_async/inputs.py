"""What a request is made from: URLs, local files, and what earlier tasks made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Protocol, SupportsIndex, cast

FILE_SCHEME = "file:"
TASK_SCHEME = "task:"


class Made:
    """What an earlier job made: a source for the next."""

    __slots__ = ()
    task_id: str

    def made(self, name: str) -> str | None:
        """Return the URL in the field of that name, if the job has succeeded."""
        raise NotImplementedError


class Borrowed(str):
    """A URL that remembers whose result it is: the URL is renewed, the task stays.

    Attributes:
        task_id: of the task that made it.
    """

    task_id: str


class Images(Protocol):
    """A list or a tuple of URLs, paths and tasks, for type checkers; one URL alone is none.

    A ``str`` is a sequence of texts, but its ``__contains__`` takes no more than texts.
    """

    def __contains__(self, value: object, /) -> bool: ...
    def __iter__(self) -> Iterator[str | Path | Made]: ...
    def __getitem__(self, index: SupportsIndex, /) -> str | Path | Made: ...


def tupled(value: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Return a list as a tuple; anything else is left for the rules to refuse."""
    return tuple(value) if isinstance(value, list) else value


def listed(value: Images) -> tuple[str | Path, ...]:
    """Return a list of sources as a tuple of them; anything else is left for the rules."""
    if value == ():
        return ()
    if isinstance(value, list | tuple):
        return tuple([cast("str | Path", an_image(one)) for one in cast("Images", value)])
    return cast("tuple[str | Path, ...]", value)


def an_image(value: str | Path | Made | None) -> str | Path | None:
    """Return the URL of the image that a task made; one without is left for the rules."""
    return _borrowed(value, "image_url") if isinstance(value, Made) else value


def a_video(value: str | Made) -> str:
    """Return the URL of the video that a task made; one without is left for the rules."""
    return _borrowed(value, "video_url") if isinstance(value, Made) else value


def _borrowed(task: Made, name: str) -> str:
    url = task.made(name)
    if not url:
        return cast(str, task)
    borrowed = Borrowed(url)
    borrowed.task_id = task.task_id
    return borrowed


def plain(value: object) -> object:
    """Return a field's value as JSON knows it."""
    if isinstance(value, PurePath):
        return FILE_SCHEME + value.as_posix()
    if isinstance(value, tuple):
        return [plain(one) for one in cast(tuple[object, ...], value)]
    return str(value) if isinstance(value, Borrowed) else value


def lasting(value: object) -> object:
    """Return a field's value as a journal knows it: what a task made, by the task."""
    if isinstance(value, Borrowed):
        return TASK_SCHEME + value.task_id
    if isinstance(value, tuple):
        return [lasting(one) for one in cast(tuple[object, ...], value)]
    return plain(value)


def rich(value: object) -> object:
    """Return a field's value as ``plain`` was given it."""
    if isinstance(value, str) and value[:5].lower() == FILE_SCHEME:
        path = value[len(FILE_SCHEME) :]
        return Path(path[2:] if path.startswith("///") else path)
    if isinstance(value, list):
        return tuple(rich(one) for one in cast(list[object], value))
    return value
