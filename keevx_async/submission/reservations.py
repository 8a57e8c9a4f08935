"""Keep a budget: a create reserves its share before its intent is written."""

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
"""The journal's note of creates that were sent again though they may have been made: each entry
counts once, and these count beside it."""


class _Account:
    """What the clients of one journal, or of none, have made and are making.

    Attributes:
        balance: what is spent and reserved.
        resent: results of creates that were sent again and may have been made before.
        is_saved: whether the journal has ``resent`` as it is.
        waiters: creates that may fit once another ends.
        loop: the event loop that the reservations belong to.
    """

    def __init__(self) -> None:
        self.balance = Balance()
        self.resent: Counter[UsageGroup] = Counter()
        self.is_saved = True
        self.waiters: list[asyncio.Future[None]] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self.loading = asyncio.Lock()

    def enter(self) -> None:
        """Take over on the running event loop: what an earlier loop left behind may be made."""
        loop = asyncio.get_running_loop()
        if self.loop is not loop:
            self.loop, self.waiters, self.loading = loop, [], asyncio.Lock()
            self.balance.spent += self.balance.reserved
            self.balance.reserved.clear()

    def wake(self) -> None:
        """Let every create that waits look again."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


_accounts: MutableMapping[object, _Account] = WeakKeyDictionary()
"""One for each open journal: clients that share it, by whatever object or path, share what is
spent."""


class Reservation:
    """A create's share of the budget, from before its intent until it is known what it made.

    As a context manager it encloses a paid step. If its call has ended, by a cancellation, the
    step's end decides.

    Args:
        account: where it is reserved.
        group: of the results.
        count: how many.
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
        """Count what the create made, or may have made. The second time nothing happens.

        Args:
            ids: how many ids it is known to have. Where these are fewer than it was to make, the
                others may have been made.
        """
        if self._close():
            self._account.balance.keep(self._group, self._count, max(ids, self._count))

    def outlasted(self) -> None:
        """Let the step that follows decide alone what becomes of the share."""
        self._ended = True

    def end(self) -> None:
        """End the call: unless something may have been made, the share is free again."""
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
        """Close it, and let those that wait look again; return whether it was open."""
        was_open, self._is_open = self._is_open, False
        if not was_open or self._loop is not self._account.loop:
            return False  # its loop was left behind: what it reserved counts as made
        self._account.wake()
        return True


class Reservations:
    """Keeps a client's creates within its budget, whatever their concurrency.

    What is spent is read from the journal once, before the first create that needs it. A journal
    that several processes write counts by itself, in the step that records the intent.

    Args:
        budget: None for no budget.
        journal: what earlier runs made is read from it.
    """

    def __init__(self, budget: Budget | None, journal: JournalProtocol) -> None:
        self._valuation = None if budget is None else Valuation(budget)
        self._journal = journal
        self._account: _Account | None = None
        self.is_limited: bool = self._valuation is not None and self._valuation.is_limited
        """Whether creates must reserve: without a limit they need not."""
        self._is_journals = journal.limit_usage(
            self._valuation.limit() if self._valuation is not None and self.is_limited else None
        )

    async def reserve(self, request: Request, *, again: bool) -> Reservation | None:
        """Reserve what a request may make, waiting for creates under way where they decide.

        Args:
            request: to be sent.
            again: whether it was sent before, and may have been made then; that goes on counting.

        Returns:
            The share; None where the journal counts by itself.

        Raises:
            BudgetExceeded: it does not fit.
            ConfigurationError: it has no price, or its length is not known.
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
        # It waits only while what creates under way have reserved decides: if one of them makes
        # nothing, this one may fit. Woken, it looks again, and whoever comes first gets it.
        while valuation is not None:
            fit = valuation.fits(balance.spent, balance.reserved, group, count)
            if fit is Fit.NOW:
                break
            if fit is Fit.NEVER:
                raise valuation.exceeded(balance.spent, group, count)
            waiter = asyncio.get_running_loop().create_future()
            account.waiters.append(waiter)
            await waiter
        # Reserved in the same step in which it was found to fit: nothing is awaited in between.
        reservation = Reservation(account, group, count, again=again)
        if again:
            account.resent[group] += count
            account.is_saved = False
            try:
                await self.save()  # before the intent, which comes after it in the journal
            except BaseException:
                reservation.end()
                raise
        return reservation

    @property
    def is_counted(self) -> bool:
        """Whether a create counts though its client has no limit: another of the journal has."""
        return bool(_accounts) and self._journal.shared in _accounts

    async def reserve_step(self, request: Request) -> Reservation | None:
        """Reserve for one paid step of a create that no limit of its own client holds back.

        Returns:
            The share, which ends with the step; None where the journal counts by itself.
        """
        reservation = await self.reserve(request, again=False)
        if reservation is not None:
            reservation.outlasted()
        return reservation

    def exceeded(self, request: Request, usage: Usage) -> BudgetExceeded:
        """Return the error of a request that a journal which counts by itself has refused."""
        assert self._valuation is not None  # noqa: S101 - only a limit is exceeded
        return self._valuation.exceeded(usage, usage_group(request), request.count)

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing that is still to come can be made: then the feed of a fan-out stops."""
        account, valuation = self._account, self._valuation
        if account is None or valuation is None:
            return False
        return valuation.is_exhausted(account.balance.spent)

    async def save(self) -> None:
        """Write down which creates were sent again, if that has changed."""
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
            # While another client has creates under way the account is up to date. Otherwise the
            # journal may have been closed meanwhile, and written by another process.
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
