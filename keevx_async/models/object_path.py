"""Addresses in object storage: ``s3://bucket/films/0001.mp4``, ``gs://…`` and ``az://…``."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import cast

from ..errors import ConfigurationError

STORAGE_SCHEMES = ("s3", "gs", "az")
"""Amazon S3 and compatible stores, Google Cloud Storage, and Azure Blob Storage."""
# A drive letter is not a scheme, and "file:" has its own meaning in requests.
_SCHEME = re.compile(r"([a-z][a-z0-9+.\-]+)://", re.IGNORECASE)


class ObjectPath(PurePosixPath):
    """The address of an object. It does not name a local file, so it is not a ``Path``.

    ``str()`` returns the address as it was written, although a ``PurePath`` drops a slash.
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
        """The object's key in its bucket."""
        return "/".join(self.parts[2:])


def is_object(path: os.PathLike[str] | str) -> bool:
    """Return whether a destination is in object storage.

    Raises:
        ConfigurationError: the destination is a URL with another scheme, or has no bucket.
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
        raise ConfigurationError(f"{text!r} has no bucket: write {match[1]}://bucket/folder/")
    return True


def as_path(text: os.PathLike[str] | str) -> Path:
    """Return a result's location: a local path, or the address of an object.

    The return type is ``Path`` for the sake of the many users without object storage, but an
    address is an ``ObjectPath``.
    """
    return cast(Path, ObjectPath(text)) if is_object(text) else Path(text)


def absolute(path: os.PathLike[str]) -> str:
    """Return a result's location as text that is valid in any folder. Addresses are unchanged."""
    return str(path) if isinstance(path, ObjectPath) else os.path.abspath(path)


def check_storage() -> None:
    """Check that obstore is installed.

    Raises:
        ConfigurationError: obstore is not installed.
    """
    if find_spec("obstore") is None:
        raise ConfigurationError(
            "s3://, gs:// and az:// need obstore", hint="pip install 'keevx_async[storage]'"
        )
