"""An API key that a function provides, so that the key can be rotated without a restart."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

from ..errors import AuthenticationError, ConfigurationError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MAX_KEPT = 3
"""The number of recent keys to mask in errors, since a response may still quote an earlier key."""


class KeySource:
    """Gets the API key from a function, before the first request and after a key is refused.

    Args:
        function: returns the key, or an awaitable that resolves to the key.
        check: validates the function's result, and returns it as a key.

    Attributes:
        version: increases with each new key.
        keys: recent keys, the current key last; empty before the first request.
    """

    def __init__(self, function: Callable[[], object], check: Callable[[object], str]) -> None:
        self._function = function
        self._check = check
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]
        self._locks = WeakKeyDictionary()  # a client may outlive its event loop
        self.version = 0
        self.keys: list[str] = []

    async def current(self) -> str:
        """Return the key to send.

        Raises:
            ConfigurationError: the function failed or did not return a key. Nothing was sent.
        """
        if not self.keys:
            await self._renew(0)
        return self.keys[-1]

    def first(self) -> str:
        """Return the key to send, without awaiting anything.

        Raises:
            ConfigurationError: the function failed or did not return a key, or it is async and has
                not been called yet.
        """
        if not self.keys:
            value = self._call()
            if inspect.isawaitable(value):
                if inspect.iscoroutine(value):
                    value.close()
                raise ConfigurationError(
                    "the function that returns the API key is async, and the journal needs the key "
                    "when it is opened: open the client with 'async with'"
                )
            self._keep(value)
        return self.keys[-1]

    async def retry_refused(self, attempt: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Return attempt's result; if the key is refused, renew it and retry once.

        Raises:
            AuthenticationError: the key is refused and the function returns the same key again, or
                the new key is refused too.
            ConfigurationError: the function failed or did not return a key.
        """
        version = self.version or 1  # the first attempt may fetch the first key
        try:
            return await attempt(*args)
        except AuthenticationError:
            if not await self._renew(version):
                raise
        return await attempt(*args)

    async def _renew(self, version: int) -> bool:
        """Renew the key, unless another caller already has; return whether there is a newer key."""
        lock = self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with lock:
            if self.version > version:
                return True
            value = self._call()
            try:
                if inspect.isawaitable(value):
                    value = await value
            except Exception as error:
                raise _failed(error) from error
            return self._keep(value)

    def _call(self) -> object:
        try:
            return self._function()
        except Exception as error:
            raise _failed(error) from error

    def _keep(self, value: object) -> bool:
        """Store the key that the function returned; return whether the key is new."""
        key = self._check(value)
        if self.keys and key == self.keys[-1]:
            return False
        self.keys = [*self.keys, key][-MAX_KEPT:]
        self.version += 1
        return True


def _failed(error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"the function that returns the API key raised {type(error).__name__}; nothing was sent"
    )
