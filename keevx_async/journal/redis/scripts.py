"""The Lua scripts of the journal in Redis: each transition is one atomic step on the server.

They are files in ``lua/``; ``common.lua`` says how they are called and what they store. Each says
in its first lines what it does and returns.
"""

from __future__ import annotations

from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple

HOLDER = 12
"""Characters of a holder's id; the token of a claim follows it."""
TOKEN = 6
"""Characters of a token, which distinguishes a repeated call from a new one."""


class Script(NamedTuple):
    """A script as the server has it.

    Attributes:
        source: its text, with ``common.lua`` in front.
        sha: the SHA-1 by which the server knows it.
        holds_paid: whether it writes what was paid, or gives a create back. It is repeated until
            it is written, whatever Redis answers.
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
    b"submitted": "{} has been submitted meanwhile; claim it again to get its ids",
    b"made": "{} has ids meanwhile, so it was made; claim it again to get them",
    b"missing": "{} is not in it: has Redis lost data?",
}
"""Why a script that changes a create has changed nothing, by the first word of its answer."""
