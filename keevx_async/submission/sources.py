"""The interface that the submitter uses for local files, and that the client implements.

It is a separate module because submission knows nothing about uploads.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ..models.request import Request


class Sources(Protocol):
    """Prepares a request's files, local or in storage, before the request is sent."""

    async def digests(self, request: Request) -> Mapping[Path, str]:
        """Return the SHA-256 digest of each of a request's local files.

        Raises:
            UploadError: a file cannot be read, or is not in a format that Keevx accepts.
        """
        ...

    async def prepare(self, key: str, request: Request) -> Request:
        """Upload a request's files and return the request with their URLs.

        A request without files is returned unchanged. Objects in storage are read, and uploaded
        like local files.

        Args:
            key: the create's key.
            request: the request; nothing has been sent for it yet.

        Raises:
            UploadError: a file cannot be read or uploaded.
        """
        ...
