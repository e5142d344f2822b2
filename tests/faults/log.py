"""What the broker's event log holds: every publication since a scenario began."""

import uuid
from dataclasses import dataclass
from typing import Any

import amqp

from services.chassis.messages import PREFIX
from services.chassis.topology import EVENT_LOG
from tests.faults.fleet import Fleet

PREFETCH = 500
WAIT = 20.0  # seconds


@dataclass(frozen=True)
class Published:
    offset: int
    id: str
    source: str
    type: str
    subject: str
    sequence: int
    time: str
    routing_key: str
    headers: dict[str, Any]
    body: bytes

    @property
    def text(self) -> str:
        """All of it, for the search of what must not be there."""
        return f"{self.headers} {self.body.decode(errors='replace')}"

    @property
    def fact(self) -> str:
        return self.type.removeprefix("cn.sidan.").rpartition(".v")[0]


class EventLog:
    """Reads on from where it stood."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.next = fleet, 0

    def read(self) -> list[Published]:
        """What has come since the last read; a marker of our own says where the end is."""
        marker = uuid.uuid4().hex
        found: list[Published] = []
        done: list[int] = []

        def note(message: Any) -> None:
            offset = message.headers["x-stream-offset"]
            if message.headers.get("marker"):
                if message.headers["marker"] == marker:
                    done.append(offset)
            elif offset >= self.next:
                found.append(_published(offset, message))
            message.channel.basic_ack(message.delivery_tag)

        with self.fleet.channel() as channel:
            channel.confirm_select()
            sent = amqp.Message(b"{}", application_headers={"marker": marker}, delivery_mode=2)
            channel.basic_publish_confirm(sent, "", EVENT_LOG, confirm_timeout=WAIT)
            channel.basic_qos(0, PREFETCH, False)
            # An offset beyond the end would wait there; chunks may begin before the offset asked for.
            channel.basic_consume(EVENT_LOG, callback=note, arguments={"x-stream-offset": self.next or "first"})
            while not done:
                channel.connection.drain_events(timeout=WAIT)
        self.next = done[0] + 1
        return found


def _published(offset: int, message: Any) -> Published:
    headers = message.headers
    body = message.body if isinstance(message.body, bytes) else str(message.body).encode()

    def attribute(name: str) -> str:
        return str(headers.get(PREFIX + name, ""))

    sequence = attribute("sequence")
    return Published(
        offset, attribute("id"), attribute("source"), attribute("type"), attribute("subject"),
        int(sequence) if sequence.isdecimal() else 0, attribute("time"), message.delivery_info["routing_key"],
        {name: value for name, value in headers.items() if name != "x-stream-offset"}, body,
    )  # fmt: skip
