"""What an exception of aiohttp's means: whether the request was sent, and why it failed."""

from __future__ import annotations

import asyncio

import aiohttp

from .connections import Attempt
from .verdict import TransportError

# Looked up along an exception's bases, nearest first: may the request have been sent? False only
# where aiohttp raises it before the first byte of a request. Used only where no connector of ours
# saw the request, as under a mock.
SENT: dict[type[BaseException], bool] = {
    aiohttp.ClientConnectorError: False,  # refused, DNS, TLS, certificate, proxy, unix socket
    aiohttp.ConnectionTimeoutError: False,  # connect timeout, wait for the pool
    aiohttp.ServerFingerprintMismatch: False,
    aiohttp.ClientHttpProxyError: False,  # the proxy refused CONNECT
    aiohttp.InvalidURL: False,
    aiohttp.NonHttpUrlClientError: False,
    aiohttp.InvalidUrlRedirectClientError: True,  # of a redirect: there was an answer
    aiohttp.NonHttpUrlRedirectClientError: True,
    aiohttp.ClientError: True,
    OSError: True,  # TimeoutError included: aiohttp's whole-exchange timeout
}


def translate(error: Exception) -> TransportError:
    """Return an exception of aiohttp's as ours, with whether the request may have been sent.

    An exception that is not in ``SENT`` counts as sent. The reason names no URL, for its query
    may hold a signature.
    """
    sent = next((SENT[base] for base in type(error).__mro__ if base in SENT), True)
    return TransportError(reason_of(error), sent=sent)


def was_sent(error: BaseException, attempt: Attempt) -> bool:
    """Return whether Keevx may have seen the request of an exchange that ended with an error."""
    # The first case that applies decides:
    # 1. A connection took it: it may have.
    # 2. A connector looked for a connection and returned none: it cannot have, whatever the error.
    # 3. No connector was asked, and the error looks like one of an exchange: whoever raised it in
    #    aiohttp's stead (a mock) means what the exception's type says.
    # 4. No connector was asked, and the task was cancelled: it may have.
    # 5. No connector was asked, and aiohttp refused its arguments: it cannot have.
    if attempt.tap is not None:
        return True
    if attempt.connecting:
        return False
    if isinstance(error, aiohttp.ClientError | OSError):
        return translate(error).sent
    return isinstance(error, asyncio.CancelledError)


def reason_of(error: Exception) -> str:
    """Return an exception's type and what the system said, without URL, header or body."""
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None)
    text = str(cause) if cause else ""
    if isinstance(error, TimeoutError) and not text:
        text = "timed out"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
