"""Run a fleet of workers on Docket: many machines that share an API key, a rate limit and a budget.

Requests are added to a ``KeevxDocket``, and any number of ``KeevxWorker`` processes submit them. A
``RedisJournal`` records every create and decides whether it may be sent.
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
