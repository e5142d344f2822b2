"""The shape of commands and events, and the CloudEvents envelope that events travel in."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

import orjson
from pydantic import BaseModel, ConfigDict

PREFIX = "cloudEvents_"
SEQUENCE_DIGITS = 10
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


def routing_key(fact: str, site: str) -> str:
    """``<aggregate>.<fact>.<county>.<township>.<village>``; ``0`` for a level that the code lacks."""
    levels = (site[0:6], site[6:9], site[9:12])
    return ".".join([fact, *(level or "0" for level in levels)])


@dataclass(slots=True, frozen=True)
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
        attributes = {
            "specversion": "1.0",
            "id": self.id,
            "type": self.type,
            "source": self.source,
            "subject": self.subject,
            "time": self.time.astimezone(UTC).isoformat(timespec="milliseconds"),
            "sequence": f"{self.sequence:0{SEQUENCE_DIGITS}d}",
            "sitecode": self.site,
            "correlationid": self.correlation_id,
            "causationid": self.causation_id,
        }
        headers = {PREFIX + name: value for name, value in attributes.items() if value}
        if self.traceparent:
            headers["traceparent"] = self.traceparent
        return headers

    @classmethod
    def parse(cls, headers: dict[str, Any], data: bytes) -> Self:
        """Read an envelope from AMQP headers; raise ``ValueError`` naming what is missing."""

        def attribute(name: str) -> str:
            value = _text(headers.get(PREFIX + name))
            if not value:
                raise ValueError(f"attribute {name} is missing")
            return value

        def optional(name: str) -> str:
            return _text(headers.get(name))[:128]

        return cls(
            id=attribute("id"),
            type=attribute("type"),
            source=attribute("source"),
            subject=attribute("subject"),
            time=datetime.fromisoformat(attribute("time")),
            sequence=_number(attribute("sequence")),
            site=optional(PREFIX + "sitecode"),
            data=data,
            correlation_id=optional(PREFIX + "correlationid"),
            causation_id=optional(PREFIX + "causationid"),
            traceparent=optional("traceparent"),
        )

    @property
    def exchange(self) -> str:
        return self.source.removeprefix("/sidan/") + ".events"

    @property
    def routing_key(self) -> str:
        return routing_key(self.type.removeprefix("cn.sidan.").rpartition(".v")[0], self.site)


def _text(value: Any) -> str:
    """Nothing for what is no text, or text that no database and no log could hold."""
    return value if isinstance(value, str) and value.isprintable() else ""


def _number(digits: str) -> int:
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= MAX_SEQUENCE_DIGITS):
        raise ValueError("attribute sequence is no number")
    return int(digits)


def dump(event: Event) -> bytes:
    return orjson.dumps(event.model_dump(mode="json", by_alias=True))
