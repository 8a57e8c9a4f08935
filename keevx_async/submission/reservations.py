"""Enforces a budget: a create reserves its share before its intent is written."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import MutableMapping
from types import TracebackType
from typing import Final
from weakref import WeakKeyDictionary

from ..errors import BudgetExceeded
from ..journal.protocol import JournalProtocol
from ..models.request import Request
from ..models.usage import Usage, UsageGroup, usage_group
from ..settings import Budget
from .budget import Balance, Fit, Valuation

RESENT: Final = "resent"
"""The name of the journal note for creates that were sent again although they may have been made.
Each journal entry counts once; the note's results count in addition."""


class _Account:
    """Tracks the spending of all clients that share a journal, or of one client without a journal.

    Attributes:
        balance: the results spent and reserved.
        resent: results of creates that were sent again and may have been made before.
        is_saved: whether the journal has the current ``resent``.
        waiters: the futures of creates that are waiting for other creates to end.
        loop: the reservations' event loop.
    """

    def __init__(self) -> None:
        self.balance = Balance()
        self.resent: Counter[UsageGroup] = Counter()
        self.is_saved = True
        self.waiters: list[asyncio.Future[None]] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self.loading = asyncio.Lock()

    def enter(self) -> None:
        """Switch to the running event loop. Reservations from an earlier loop count as spent."""
        loop = asyncio.get_running_loop()
        if self.loop is not loop:
            self.loop, self.waiters, self.loading = loop, [], asyncio.Lock()
            self.balance.spent += self.balance.reserved
            self.balance.reserved.clear()

    def wake(self) -> None:
        """Wake all waiting creates, so that each checks again whether it fits."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


_accounts: MutableMapping[object, _Account] = WeakKeyDictionary()
"""One account per open journal. Clients that share a journal share its account, even if they opened
the journal through different objects or paths."""


class Reservation:
    """A create's share of the budget, held from before its intent until its results are known.

    As a context manager, a reservation wraps a paid step. If the call was cancelled, the
    reservation ends when the step ends.

    Args:
        account: the account to reserve in.
        group: the results' group.
        count: the number of results.
        again: whether the create was sent before, and may have been made then.
    """

    __slots__ = ("_account", "_again", "_count", "_ended", "_group", "_is_open", "_loop", "_steps")

    def __init__(self, account: _Account, group: UsageGroup, count: int, *, again: bool) -> None:
        self._account = account
        self._again = again
        self._group = group
        self._count = count
        self._is_open = True
        self._ended = False
        self._steps = 0
        self._loop = account.loop
        account.balance.reserve(group, count)

    def keep(self, ids: int) -> None:
        """Count the results that were made, or may have been. Calling it again has no effect.

        Args:
            ids: the number of ids received. If fewer were received than expected, the remaining
                results count too, since they may have been made.
        """
        if self._close():
            self._account.balance.keep(self._group, self._count, max(ids, self._count))

    def outlasted(self) -> None:
        """Let the reservation end when its next paid step ends."""
        self._ended = True

    def end(self) -> None:
        """End the call. Give the share back, unless it was kept or a paid step still needs it."""
        self._ended = True
        self._give_back()

    def __enter__(self) -> None:
        self._steps += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._steps -= 1
        self._give_back()

    def _give_back(self) -> None:
        if self._ended and not self._steps and self._close():
            self._account.balance.give_back(self._group, self._count)
            if self._again:  # nothing was made this time: the entry counts once
                self._account.resent[self._group] -= self._count
                self._account.is_saved = False

    def _close(self) -> bool:
        """Close the reservation and wake waiting creates; return whether it was open."""
        was_open, self._is_open = self._is_open, False
        if not was_open or self._loop is not self._account.loop:
            return False  # its loop is no longer used: the reservation counts as spent
        self._account.wake()
        return True


class Reservations:
    """Keeps a client's creates within the budget, even if many run concurrently.

    Past spending is read from the journal once, before the first create that needs it. A journal
    that several processes write to enforces the budget itself when it records an intent.

    Args:
        budget: the budget; None for no limit.
        journal: the journal, which contains the creates of earlier runs.
    """

    def __init__(self, budget: Budget | None, journal: JournalProtocol) -> None:
        self._valuation = None if budget is None else Valuation(budget)
        self._journal = journal
        self._account: _Account | None = None
        self.is_limited: bool = self._valuation is not None and self._valuation.is_limited
        """Whether creates must reserve a share; False without a limit."""
        self._is_journals = journal.limit_usage(
            self._valuation.limit() if self._valuation is not None and self.is_limited else None
        )

    async def reserve(self, request: Request, *, again: bool) -> Reservation | None:
        """Reserve budget for a request, waiting if it may fit once creates in progress end.

        Args:
            request: the request to send.
            again: whether the request was sent before and may have been charged. If so, both
                creates count.

        Returns:
            The reservation; None if the journal enforces the budget itself.

        Raises:
            BudgetExceeded: the request does not fit.
            ConfigurationError: the request has no price, or its result's length is unknown.
            JournalError: the journal could not be read.
        """
        group, count = usage_group(request), request.count
        valuation = self._valuation if self.is_limited else None
        if valuation is not None:
            valuation.check(group)
        if self._is_journals:
            return None
        account = await self._open()
        balance = account.balance
        # Wait only if this create may fit once creates in progress give back their reservations.
        # When woken, check again; the first create to check gets the share.
        while valuation is not None:
            fit = valuation.fits(balance.spent, balance.reserved, group, count)
            if fit is Fit.NOW:
                break
            if fit is Fit.NEVER:
                raise valuation.exceeded(balance.spent, group, count)
            waiter = asyncio.get_running_loop().create_future()
            account.waiters.append(waiter)
            await waiter
        # Reserve in the same step as the check: nothing is awaited in between.
        reservation = Reservation(account, group, count, again=again)
        if again:
            account.resent[group] += count
            account.is_saved = False
            try:
                await self.save()  # before the intent is written
            except BaseException:
                reservation.end()
                raise
        return reservation

    @property
    def is_counted(self) -> bool:
        """Whether creates count even without a limit, because the journal has an account."""
        return bool(_accounts) and self._journal.shared in _accounts

    async def reserve_step(self, request: Request) -> Reservation | None:
        """Reserve budget for one paid step of a create whose own client has no limit.

        Returns:
            The reservation, which ends with the step; None if the journal enforces the budget.
        """
        reservation = await self.reserve(request, again=False)
        if reservation is not None:
            reservation.outlasted()
        return reservation

    def exceeded(self, request: Request, usage: Usage) -> BudgetExceeded:
        """Return the error for a request that the journal refused as over budget."""
        assert self._valuation is not None  # noqa: S101 - only a limit is exceeded
        return self._valuation.exceeded(usage, usage_group(request), request.count)

    @property
    def is_exhausted(self) -> bool:
        """Whether even the smallest request no longer fits, so that a fan-out stops its feed."""
        account, valuation = self._account, self._valuation
        if account is None or valuation is None:
            return False
        return valuation.is_exhausted(account.balance.spent)

    async def save(self) -> None:
        """Save the results of creates that were sent again, if they have changed."""
        account = self._account
        if account is not None and not account.is_saved:
            account.is_saved = True
            rows = [[*group, count] for group, count in account.resent.items() if count]
            await self._journal.set_note(RESENT, json.dumps(rows))

    async def _open(self) -> _Account:
        account = self._account
        if account is not None and account.loop is asyncio.get_running_loop():
            return account
        account = _accounts.setdefault(self._journal.shared, _Account())
        account.enter()
        async with account.loading:
            # The account is up to date while another client has creates in progress. Otherwise the
            # journal may have been closed in the meantime, and another process may have written it.
            if self._account is None and not account.balance.reserved.total():
                account.resent = await read_resent(self._journal)
                account.balance.spent = Counter(await self._journal.usage()) + account.resent
        self._account = account
        return account


async def read_resent(journal: JournalProtocol) -> Counter[UsageGroup]:
    """Return the results of creates that were sent again and may have been made before."""
    counts: Counter[UsageGroup] = Counter()
    for *group, count in json.loads(await journal.get_note(RESENT) or "[]"):
        counts[UsageGroup(*group)] += count
    return counts
