"""A journal's owner: one account on one host. Runs for any other owner cannot use the journal."""

from __future__ import annotations

from hashlib import scrypt
from secrets import token_hex

from attrs import evolve, field, frozen

from ..errors import JournalError

SALT = 16
"""The size of a journal's salt in bytes."""
DIGEST = 4
"""The size of the digest in bytes: large enough to tell two keys apart, too small to confirm a
guessed key."""
WORK = 2**12
"""The cost parameter for scrypt, which takes about 10 ms and 4 MB each time a journal is opened."""


@frozen
class Owner:
    """The host and account that a client uses.

    Attributes:
        host: the normalized origin of the base URL, such as ``https://api.keevx.com``.
        api_key: the API key; only a salted digest of the key is ever written.
        account: the name passed as ``Keevx(account=…)``; None if none was passed.
    """

    host: str
    api_key: str = field(repr=False)
    account: str | None = None

    def sign(self, salt: str) -> str:
        """Return the API key's digest, as recorded by a journal with this salt."""
        digest = scrypt(self.api_key.encode(), salt=salt.encode(), n=WORK, r=8, p=1, dklen=DIGEST)
        return digest.hex()


def admit(
    record: OwnerRecord | None, owner: Owner, journal: str, adopt: str, *, adopts: bool
) -> OwnerRecord | None:
    """Let an owner use a journal; return the record to write, or None if it is up to date.

    Args:
        record: the journal's owner record; None if the journal is new, or has only been used by an
            older keevx_async.
        owner: the host and account for which a client is about to use the journal.
        journal: the journal's name, for the error message.
        adopt: how to hand the journal over, worded as the end of a sentence.
        adopts: whether to hand the journal over now.

    Raises:
        JournalError: the journal belongs to another host or account.
    """
    # 1. No owner is recorded yet: it belongs to its first client.
    # 2. It belongs to another owner: refused, or handed over.
    # 3. It belongs to this owner: a new account name, or the account's current key, is recorded.
    if record is None:
        return OwnerRecord.of(owner)
    refusal = record.refusal(owner, journal, adopt)
    if refusal is not None:
        if not adopts:
            raise JournalError(refusal)
        return OwnerRecord.of(owner)
    if owner.account is None:
        return None
    current = evolve(record, account=owner.account, digest=owner.sign(record.salt))
    return current if current != record else None


@frozen
class OwnerRecord:
    """A journal's record of its owner.

    Attributes:
        host: see ``Owner``.
        account: see ``Owner``.
        salt: a random salt, unique to this journal.
        digest: the API key's digest, made with the salt.
    """

    host: str
    account: str | None
    salt: str
    digest: str

    @classmethod
    def of(cls, owner: Owner) -> OwnerRecord:
        """Return the record of an owner, with a new salt."""
        salt = token_hex(SALT)
        return cls(owner.host, owner.account, salt, owner.sign(salt))

    def refusal(self, owner: Owner, journal: str, adopt: str) -> str | None:
        """Return an error message if an owner may not use the journal, otherwise None.

        Args:
            owner: the host and account for which a client is about to use the journal.
            journal: the journal's name, for the message.
            adopt: how to hand the journal over, worded as the end of a sentence.
        """
        # 1. Another host: its tasks do not exist here, and may have been "made" by an emulator.
        # 2. Both sides have an account name: the names decide, whichever key is in use now.
        # 3. Otherwise the keys decide.
        if self.host != owner.host:
            return (
                f"{journal} belongs to {self.host}, not to {owner.host}; nothing was sent. Use "
                f"another journal, or set KEEVX_BASE_URL to {self.host}; if the host has moved, "
                f"{adopt}"
            )
        if self.account is not None and owner.account is not None:
            is_same = self.account == owner.account
        else:
            is_same = self.digest == owner.sign(self.salt)
        if is_same:
            return None
        whose = "another API key" if self.account is None else f"account {self.account!r}"
        user = "yours" if owner.account is None else f"account {owner.account!r}"
        return (
            f"{journal} belongs to {whose} of {self.host}, not to {user}; nothing was sent. Use "
            f"another journal, or the key that it was created with; if the key was rotated, {adopt}"
        )
