"""Interprets aiohttp exceptions: may the request have been sent, and why did it fail?"""

from __future__ import annotations

import asyncio

import aiohttp

from .connections import Attempt
from .verdict import TransportError

# Whether the request may have been sent, by exception class; an exception's nearest base decides.
# False only if aiohttp raises the exception before the first byte of a request. Used only if our
# connector did not see the request, for example with a mock.
SENT: dict[type[BaseException], bool] = {
    aiohttp.ClientConnectorError: False,  # refused, DNS, TLS, certificate, proxy, unix socket
    aiohttp.ConnectionTimeoutError: False,  # connect timeout, wait for the pool
    aiohttp.ServerFingerprintMismatch: False,
    aiohttp.ClientHttpProxyError: False,  # the proxy refused CONNECT
    aiohttp.InvalidURL: False,
    aiohttp.NonHttpUrlClientError: False,
    aiohttp.InvalidUrlRedirectClientError: True,  # from a redirect: there was a response
    aiohttp.NonHttpUrlRedirectClientError: True,
    aiohttp.ClientError: True,
    OSError: True,  # TimeoutError included: aiohttp's whole-exchange timeout
}


def translate(error: Exception) -> TransportError:
    """Return the TransportError for an aiohttp exception.

    If the exception is not in ``SENT``, the request counts as sent. The reason contains no URL,
    because a URL's query may contain a signature.
    """
    sent = next((SENT[base] for base in type(error).__mro__ if base in SENT), True)
    return TransportError(reason_of(error), sent=sent)


def was_sent(error: BaseException, attempt: Attempt) -> bool:
    """Return whether a failed exchange's request may have reached Keevx."""
    # The first case that applies decides:
    # 1. A connection took the request: it may have been sent.
    # 2. The connector was called but returned no connection: it was not sent, whatever the error.
    # 3. The connector was not called, and the error is a network error: a mock raised it in place
    #    of aiohttp, so the exception's type decides.
    # 4. The connector was not called, and the task was cancelled: it may have been sent.
    # 5. The connector was not called, and aiohttp rejected the arguments: it was not sent.
    if attempt.tap is not None:
        return True
    if attempt.connecting:
        return False
    if isinstance(error, aiohttp.ClientError | OSError):
        return translate(error).sent
    return isinstance(error, asyncio.CancelledError)


def reason_of(error: Exception) -> str:
    """Return an exception's type and underlying message, without any URL, header or body."""
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None)
    text = str(cause) if cause else ""
    if isinstance(error, TimeoutError) and not text:
        text = "timed out"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
