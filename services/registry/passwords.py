"""Password hashes: Argon2id with little memory, since several run at a time in a small process."""

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

HASHER = PasswordHasher(time_cost=5, memory_cost=7 * 1024, parallelism=1)
"""The 7 MiB variant of OWASP's password storage cheat sheet; about 15 ms of CPU."""


def hashed(password: str) -> str:
    return HASHER.hash(password)


def matches(password_hash: str | None, password: str) -> bool:
    """Without a hash it takes the same time and says no, so that nobody learns which accounts exist."""
    try:
        HASHER.verify(password_hash or _nobody(), password)
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None


@cache
def _nobody() -> str:
    return hashed("nobody has this password")
