"""What the submitter needs to know of local files; the client composes it of uploads and journal.

It is a module of its own because submission knows nothing of uploads.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ..models.request import Request


class Sources(Protocol):
    """What becomes of a request's files, local or in storage, before the request is sent."""

    async def digests(self, request: Request) -> Mapping[Path, str]:
        """Return the SHA-256 of each of its local files.

        Raises:
            UploadError: one cannot be read, or is nothing that Keevx would take.
        """
        ...

    async def prepare(self, key: str, request: Request) -> Request:
        """Return it with the URLs of its uploaded files; itself if it has none.

        Objects in storage are read, and uploaded like local files.

        Args:
            key: names the create.
            request: nothing of it was sent yet.

        Raises:
            UploadError: a file cannot be uploaded.
        """
        ...
