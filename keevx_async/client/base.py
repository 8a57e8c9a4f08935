"""The client's lifecycle: opening on an event loop, deriving other clients, and closing."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self
from weakref import WeakSet

from attrs import evolve

from ..errors import ConfigurationError
from ..http.transport import CLIENT_CLOSED
from ..settings import NOT_GIVEN, NotGiven, PollPolicy, RetryPolicy
from ..transfer.fitting import Fit, check_fit
from . import options
from .fanout import FanOut
from .runtime import ClientConfig, Components

if TYPE_CHECKING:
    import aiohttp


class BaseClient:
    """The client's lifecycle. ``Keevx`` adds the API methods.

    Args:
        config: the client's configuration.
    """

    def __init__(self, config: ClientConfig) -> None:
        self._closed = False
        self._runtime: Components | None = None
        self._opening = threading.Lock()
        self._fans: WeakSet[FanOut[Any]] = WeakSet()
        self._config = config
        self._origin: BaseClient | None = None  # the client that with_options() was called on

    @property
    def base_url(self) -> str:
        """The base URL of the API, without a trailing slash."""
        return self._config.transport.base_url

    def with_options(
        self,
        *,
        timeout: float | aiohttp.ClientTimeout | NotGiven = NOT_GIVEN,
        retry: RetryPolicy | None = None,
        polling: PollPolicy | None = None,
        headers: Mapping[str, str] | None = None,
        fit: Fit | None = None,
    ) -> Self:
        """Return a client with different settings that shares everything else with this client.

        Both use the same connections, journal, limiter and budget; closing either closes both.
        Calling this is cheap. Settings that you do not pass are inherited.

        Args:
            timeout: seconds for one exchange, or an ``aiohttp.ClientTimeout``.
            retry: the policy for retrying requests.
            polling: the policy for polling tasks.
            headers: headers for every API call, in addition to this client's headers.
            fit: how to adapt local images; see ``Keevx``.

        Raises:
            ConfigurationError: an argument is invalid.
        """
        config = self._config
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._origin = self._origin or self
        other._runtime = None
        other._config = evolve(
            config,
            transport=config.transport.with_options(
                options.extra_headers(headers),
                None if isinstance(timeout, NotGiven) else options.timeout(timeout),
            ),
            retry=config.retry if retry is None else options.policy("retry", retry, RetryPolicy),
            polling=config.polling
            if polling is None
            else options.policy("polling", polling, PollPolicy),
            fit=config.fit if fit is None else check_fit(fit),
        )
        return other

    def __repr__(self) -> str:
        closed = " closed" if (self._origin or self)._closed else ""
        return f"<Keevx {self._config.transport.host}{closed}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Keevx client holds the API key and cannot be pickled; create one where it is used"
        )

    def __del__(self) -> None:
        opened = getattr(self, "_runtime", None) is not None
        if opened and self._origin is None and not self._closed:
            warnings.warn(
                f"{self!r} was never closed: use 'async with Keevx()' or 'await keevx.close()'",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

    async def __aenter__(self) -> Self:
        config = self._config
        if config.owner is not None and config.transport.key is not None:
            await config.transport.key.current()  # the journal's owner depends on the key
        self._components()
        try:
            await config.journal.check_owner()
            await config.transport.session()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the client after waiting for creates in flight.

        No new create starts, and fan-outs stop. Creates in flight get ``RetryPolicy.grace``
        seconds to receive their responses. If cancelled, ``close`` stops waiting for them but
        still closes everything. Calling it again has no effect.
        """
        if self._origin is not None:
            await self._origin.close()
            return
        self._closed = True
        components = self._runtime
        # Close everything, even if a step fails or is cancelled. The journal comes last, because
        # creates in flight still write to it.
        async with AsyncExitStack() as last_first:
            last_first.push_async_callback(self._detach_journal)
            last_first.push_async_callback(self._config.transport.close)
            if components is not None:
                components.stop()
                if components.loop is asyncio.get_running_loop():
                    last_first.push_async_callback(components.close)
                last_first.callback(components.detach)
            for fan in list(self._fans):
                await fan.aclose()
            if components is not None:
                await components.drain()

    async def _detach_journal(self) -> None:
        components, self._runtime = self._runtime, None
        if components is not None:
            await self._config.journal.detach()

    def _components(self) -> Components:
        """Return the components for the running event loop, creating them if necessary."""
        if self._origin is not None:
            shared = self._origin._components()
            if self._runtime is None or self._runtime.shared is not shared:
                self._runtime = Components(self._config, shared)
            return self._runtime
        if self._closed:
            raise ConfigurationError(CLIENT_CLOSED)
        components = self._runtime
        if components is not None and components.loop is asyncio.get_running_loop():
            return components
        # 1. There are no components yet: open the journal and create them.
        # 2. They belong to another running loop: refuse, since two loops cannot share a pool.
        # 3. They belong to a loop that has ended, or to a parent process before a fork: create new
        #    components. The old ones receive no more callbacks.
        with self._opening:
            before = self._runtime
            if before is None:
                owner = self._config.owner
                self._config.journal.attach(None if owner is None else owner())
            elif before.loop.is_running() and before.process == os.getpid():
                raise ConfigurationError(
                    "this client is in use on another running event loop, such as one in "
                    "another thread; create one Keevx per event loop"
                )
            else:
                before.detach()
            self._runtime = Components(self._config)
            return self._runtime
