"""The password of Redis, from the environment: a URL on a command line is seen by everyone."""

from __future__ import annotations

import os
import re
from typing import NamedTuple
from urllib.parse import unquote

from redis.credentials import CredentialProvider, UsernamePasswordCredentialProvider

PASSWORD_VARIABLE = "KEEVX_REDIS_PASSWORD"  # noqa: S105 - the variable's name

_USER = re.compile(r"^([^:/?#]+://)([^/?#@]*)@")
_PASSWORD_OPTION = re.compile(r"[?&]password=")


class Login(NamedTuple):
    """How to log in to a Redis.

    Attributes:
        url: without what the provider has.
        provider: gives redis-py user and password; None to log in as the URL says.
    """

    url: str
    provider: CredentialProvider | None


def login_of(url: str) -> Login:
    """Return how to log in to a Redis, with the password of KEEVX_REDIS_PASSWORD if it is set.

    A URL that has a password keeps it: it was given for this very server. The user is the URL's, as
    in ``redis://worker@host:6379/0``; without one it is Redis's default user.
    """
    password = os.environ.get(PASSWORD_VARIABLE)
    match = _USER.match(url)
    user = match[2] if match else ""
    has_password = ":" in user or _PASSWORD_OPTION.search(url) is not None
    if not password or has_password or url.startswith("memory:"):
        return Login(url, None)
    # Docket and redis-py take a user from the URL or from the provider, not from both.
    rest = url[match.end() :] if match else url.partition("://")[2]
    provider = UsernamePasswordCredentialProvider(unquote(user) or None, password)
    return Login(f"{url.partition('://')[0]}://{rest}", provider)
