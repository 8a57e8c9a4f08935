"""Read the Redis password from the environment, since command lines are visible to others."""

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
    """The URL and credentials for logging in to Redis.

    Attributes:
        url: the URL, without the credentials that the provider returns.
        provider: returns the user and password to redis-py; None to use the URL's credentials.
    """

    url: str
    provider: CredentialProvider | None


def login_of(url: str) -> Login:
    """Return the login for a Redis URL, with the password from KEEVX_REDIS_PASSWORD if it is set.

    A password in the URL takes precedence, because it was set for this server. The user is taken
    from the URL (``redis://worker@host:6379/0``); without a user, Redis uses its default user.
    """
    password = os.environ.get(PASSWORD_VARIABLE)
    match = _USER.match(url)
    user = match[2] if match else ""
    has_password = ":" in user or _PASSWORD_OPTION.search(url) is not None
    if not password or has_password or url.startswith("memory:"):
        return Login(url, None)
    # Docket and redis-py read the user either from the URL or from the provider.
    rest = url[match.end() :] if match else url.partition("://")[2]
    provider = UsernamePasswordCredentialProvider(unquote(user) or None, password)
    return Login(f"{url.partition('://')[0]}://{rest}", provider)
