"""The time, to the millisecond that the database keeps."""

from datetime import UTC, datetime


def now() -> datetime:
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
