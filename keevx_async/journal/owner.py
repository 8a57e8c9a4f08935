"""Whose a journal is: one host and one account, so that no run takes over what another paid for."""

from __future__ import annotations

from hashlib import scrypt
from secrets import token_hex

from attrs import evolve, field, frozen

from ..errors import JournalError

SALT = 16
"""Bytes of a journal's salt."""
DIGEST = 4
"""Bytes of the digest: enough to tell two keys apart, too few to confirm a guessed one."""
WORK = 2**12
"""scrypt's cost: about 10 ms and 4 MB, paid once when a journal is opened."""


@frozen
class Owner:
    """Whom a client works for.

    Attributes:
        host: the normalized origin of the base URL, such as ``https://api.keevx.com``.
        api_key: the key; only a salted digest of it is ever written.
        account: the name passed as ``Keevx(account=…)``; None for none.
    """

    host: str
    api_key: str = field(repr=False)
    account: str | None = None

    def sign(self, salt: str) -> str:
        """Return the digest of the API key that a journal with this salt records."""
        digest = scrypt(self.api_key.encode(), salt=salt.encode(), n=WORK, r=8, p=1, dklen=DIGEST)
        return digest.hex()


def admit(
    record: OwnerRecord | None, owner: Owner, journal: str, adopt: str, *, adopts: bool
) -> OwnerRecord | None:
    """Let an owner use a journal; return the record to write, None where it stands.

    Args:
        record: what the journal has; None if it was never used, or by an older keevx_async only.
        owner: of the client that is about to use it.
        journal: what names the journal.
        adopt: what a person does to hand it over, as the end of a sentence.
        adopts: whether it is handed over now.

    Raises:
        JournalError: it belongs to another host or account.
    """
    # 1. Not recorded yet: it belongs to its first client.
    # 2. Another owner's: refused, or handed over.
    # 3. Its own: a name, or the key that an account uses by now, is added to the record.
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
    """The owner that a journal records.

    Attributes:
        host: as of ``Owner``.
        account: as of ``Owner``.
        salt: random, of this journal alone.
        digest: of the API key, made with the salt.
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
        """Return why an owner may not use the journal, and what to do; None if it is its own.

        Args:
            owner: of the client that is about to use it.
            journal: what names the journal.
            adopt: what a person does to hand it over, as the end of a sentence.
        """
        # 1. Another host: its tasks do not exist here, and what it "made" may be an emulator's.
        # 2. Both sides name an account: the names decide, whichever key is in use today.
        # 3. Else the keys decide.
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
            f"another journal, or the key that it was begun with; if the key was rotated, {adopt}"
        )
