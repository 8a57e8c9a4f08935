"""Many machines: the journal that they share. Needs the extra ``docket``."""

from .journal import RedisJournal

__all__ = ["RedisJournal"]
