"""Addresses in object storage: ``s3://bucket/films/0001.mp4``, ``gs://…`` and ``az://…``."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import cast

from ..errors import ConfigurationError

STORAGE_SCHEMES = ("s3", "gs", "az")
"""Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage."""
# A drive's letter is no scheme, and "file:" has its own meaning in requests.
_SCHEME = re.compile(r"([a-z][a-z0-9+.\-]+)://", re.IGNORECASE)


class ObjectPath(PurePosixPath):
    """The address of an object. It names no file of this machine, and so is no ``Path``.

    ``str()`` gives the address as it was written, though a ``PurePath`` would drop a slash.
    """

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)

    def __fspath__(self) -> str:
        return str(self)

    @property
    def bucket_url(self) -> str:
        """The bucket or container, such as ``s3://films``."""
        return "/".join(str(self).split("/")[:3])

    @property
    def key(self) -> str:
        """The object's name in its bucket."""
        return "/".join(self.parts[2:])


def is_object(path: os.PathLike[str] | str) -> bool:
    """Return whether a destination is in object storage.

    Raises:
        ConfigurationError: it is a URL of another scheme, or names no bucket.
    """
    text = os.fspath(path)
    match = _SCHEME.match(text)
    if match is None:
        return False
    if match[1] not in STORAGE_SCHEMES:
        raise ConfigurationError(
            f"results cannot be written to {text!r}: use a local path, or one of "
            + ", ".join(f"{scheme}://" for scheme in STORAGE_SCHEMES)
        )
    if not re.match(r"[^/{}]+(?:/|$)", text[match.end() :]):
        raise ConfigurationError(f"{text!r} names no bucket: write {match[1]}://bucket/folder/")
    return True


def as_path(text: os.PathLike[str] | str) -> Path:
    """Return a path, or the address of an object, as where a result is.

    The type says ``Path`` for the many who use no storage; an address is an ``ObjectPath``.
    """
    return cast(Path, ObjectPath(text)) if is_object(text) else Path(text)


def absolute(path: os.PathLike[str]) -> str:
    """Return the text by which a result is found from any folder; an address is one already."""
    return str(path) if isinstance(path, ObjectPath) else os.path.abspath(path)
