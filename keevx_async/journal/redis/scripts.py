"""The Redis journal's Lua scripts. Each state transition is one atomic step on the server.

The scripts are files in ``lua/``; ``common.lua`` describes their arguments and the stored data. The
first lines of each script describe its effect and its reply.
"""

from __future__ import annotations

from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple

HOLDER = 12
"""The number of characters in a holder's id; the claim's token and attempt follow it."""
TOKEN = 6
"""The number of characters in a random token, which identifies a repeated call."""


class Script(NamedTuple):
    """A script, as stored on the server.

    Attributes:
        source: the script's text, preceded by ``common.lua``.
        sha: the SHA-1 by which the server identifies it.
        holds_paid: whether it records something that was paid for, or releases a create. If so, it
            is retried after any error until the connection's deadline.
    """

    source: str
    sha: str
    holds_paid: bool


_FOLDER = files("keevx_async.journal.redis") / "lua"
_COMMON = (_FOLDER / "common.lua").read_text(encoding="utf-8")


def _read(name: str, *, holds_paid: bool = False) -> Script:
    source = _COMMON + (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")
    return Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest(), holds_paid)


CLAIM = _read("claim")
RELEASE = _read("release", holds_paid=True)
HEARTBEAT = _read("heartbeat")
END_LEASE = _read("end_lease")

PLAN = _read("plan")
BEGIN = _read("begin")
SUBMIT = _read("submit", holds_paid=True)
CHANGE = _read("change", holds_paid=True)
SETTLE = _read("settle")
ADD_IDS = _read("add_ids", holds_paid=True)
END_TASK = _read("end_task", holds_paid=True)

FIND = _read("find")
FIND_TASKS = _read("find_tasks")
FIND_KEYS = _read("find_keys")
FIND_OWNER = _read("find_owner")
COUNTS = _read("counts")
USAGE = _read("usage")
SET_NOTE = _read("set_note")
GET_NOTE = _read("get_note")
REPLACE_NOTE = _read("replace_note")

SCHEDULE_POLLS = _read("schedule_polls", holds_paid=True)
EXCHANGE_POLLS = _read("exchange_polls", holds_paid=True)
FIND_POLLS = _read("find_polls")

ACQUIRE = _read("acquire")
HOLD = _read("hold")
STATUS = _read("status")

REFUSALS = {
    b"taken": "another worker has taken {}, or it was never claimed; claim it again",
    b"submitted": "{} has been submitted in the meantime; claim it again to get its ids",
    b"made": "{} now has ids, so it was made; claim it again to get them",
    b"missing": "{} is not in the journal: has Redis lost data?",
}
"""The reason why a script did not change a create, by the first word of its reply."""
