"""The shape of commands and events, and the CloudEvents envelope that events travel in."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, ClassVar, Self

import orjson
from pydantic import BaseModel, ConfigDict

PREFIX = "cloudEvents_"
SEQUENCE_DIGITS = 10
LONGEST = 128
"""Characters that are kept of an attribute which may be missing."""
MAX_SEQUENCE_DIGITS = 18
"""More would not fit the 64 bits that the database has for a number."""


class Command(BaseModel):
    """A request to change something. Unknown fields are refused, so that a typo is never silent."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Event(BaseModel):
    """A fact, in the past tense, without personal data. Unknown fields are ignored (tolerant reader).

    ``owner`` is the publishing service; ``fact`` is ``<aggregate>.<fact>``; ``subject`` names the field that
    holds the aggregate's id.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    owner: ClassVar[str]
    fact: ClassVar[str]
    subject: ClassVar[str]
    version: ClassVar[int] = 1

    site: str
    """Division code of the place that the fact belongs to: 6, 9 or 12 digits."""

    @classmethod
    def type(cls) -> str:
        return f"cn.sidan.{cls.fact}.v{cls.version}"

    @classmethod
    def exchange(cls) -> str:
        return f"{cls.owner}.events"

    def subject_id(self) -> str:
        return str(getattr(self, self.subject))


@lru_cache(10_000)
def routing_key(fact: str, site: str) -> str:
    """``<aggregate>.<fact>.<county>.<township>.<village>``; ``0`` for a level that the code lacks."""
    levels = (site[0:6], site[6:9], site[9:12])
    return ".".join([fact, *(level or "0" for level in levels)])


@dataclass(slots=True)
class Envelope:
    """A CloudEvents 1.0 event in binary mode; ``data`` is the JSON of the event."""

    id: str
    type: str
    source: str
    subject: str
    time: datetime
    sequence: int
    site: str
    data: bytes
    correlation_id: str = ""
    causation_id: str = ""
    traceparent: str = ""

    def headers(self) -> dict[str, str]:
        headers = {
            "cloudEvents_specversion": "1.0",
            "cloudEvents_id": self.id,
            "cloudEvents_type": self.type,
            "cloudEvents_source": self.source,
            "cloudEvents_subject": self.subject,
            "cloudEvents_time": self.time.astimezone(UTC).isoformat(timespec="milliseconds"),
            "cloudEvents_sequence": f"{self.sequence:0{SEQUENCE_DIGITS}d}",
            "cloudEvents_sitecode": self.site,
            "cloudEvents_correlationid": self.correlation_id,
            "cloudEvents_causationid": self.causation_id,
            "traceparent": self.traceparent,
        }
        return {name: value for name, value in headers.items() if value}

    @classmethod
    def parse(cls, headers: dict[str, Any], data: bytes) -> Self:
        """Read an envelope from AMQP headers; raise ``ValueError`` naming what is missing."""
        return cls(
            id=_attribute(headers, "cloudEvents_id"),
            type=_attribute(headers, "cloudEvents_type"),
            source=_attribute(headers, "cloudEvents_source"),
            subject=_attribute(headers, "cloudEvents_subject"),
            time=datetime.fromisoformat(_attribute(headers, "cloudEvents_time")),
            sequence=_number(_attribute(headers, "cloudEvents_sequence")),
            site=_text(headers.get("cloudEvents_sitecode"))[:LONGEST],
            data=data,
            correlation_id=_text(headers.get("cloudEvents_correlationid"))[:LONGEST],
            causation_id=_text(headers.get("cloudEvents_causationid"))[:LONGEST],
            traceparent=_text(headers.get("traceparent"))[:LONGEST],
        )

    @property
    def exchange(self) -> str:
        return self.source.removeprefix("/sidan/") + ".events"

    @property
    def routing_key(self) -> str:
        return routing_key(self.type.removeprefix("cn.sidan.").rpartition(".v")[0], self.site)


def _attribute(headers: dict[str, Any], name: str) -> str:
    value = _text(headers.get(name))
    if not value:
        raise ValueError(f"attribute {name.removeprefix(PREFIX)} is missing")
    return value


def _text(value: Any) -> str:
    """Nothing for what is no text, or text that no database and no log could hold."""
    return value if isinstance(value, str) and value.isprintable() else ""


def _number(digits: str) -> int:
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= MAX_SEQUENCE_DIGITS):
        raise ValueError("attribute sequence is no number")
    return int(digits)


def dump(event: Event) -> bytes:
    return orjson.dumps(event.model_dump(mode="json", by_alias=True))
