"""A fleet of workers on Docket: many machines, one key, one limit, one bill.

Requests are added to a ``KeevxDocket``, any number of ``KeevxWorker`` processes submit them, and a
``RedisJournal`` is the record that decides whether a create may be sent.
"""

from ..journal.redis.journal import RedisJournal
from .queue import KeevxDocket
from .settings import WorkerSettings, worker_settings
from .tasks import create, create_tasks
from .worker import KeevxWorker

__all__ = [
    "KeevxDocket",
    "KeevxWorker",
    "RedisJournal",
    "WorkerSettings",
    "create",
    "create_tasks",
    "worker_settings",
]
