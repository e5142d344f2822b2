"""Messages as AMQP 0-9-1 frames, written and read at once.

py-amqp's coders know every type of field, and cost most of what a relay and a subscriber do. These know what
our messages are made of: short properties, and headers that are text. Anything else is left to py-amqp.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from struct import Struct, error
from typing import Any

from amqp import Message
from amqp.exceptions import UnexpectedFrame
from amqp.serialization import dumps

METHOD, HEADER, BODY = 1, 2, 3
FRAME = Struct(">BHI")
"""Kind, channel, length of the payload; ``END`` follows the payload."""
HEAD = Struct(">BHIHHQH")
"""The same of a content header, with class, weight, size of the body and flags of the properties."""
CONTENT = Struct(">HHQH")
HEADED = Struct(">HHQ")
DELIVERED = Struct(">QBB")
"""Tag, whether it was delivered before, length of the exchange's name."""
ITEM = Struct(">BI")
"""Type of a header's value, and its length if it is ``TEXT``."""
LENGTH = Struct(">I")
END = b"\xce"
OVERHEAD = FRAME.size + len(END)
BASIC, PUBLISH, DELIVER = 60, b"\x00\x3c\x00\x28", b"\x00\x3c\x00\x3c"
TEXT = ord("S")
JSON, PERSISTENT = b"\x10application/json\x05utf-8", b"\x02"
WRITTEN = 0xF000  # content type, encoding, headers, delivery mode
CORRELATION, ID, TYPE = 0x0400, 0x0080, 0x0020
QUICK = {"correlation_id": CORRELATION, "type": TYPE}
HEADERS = "application_headers"
NOT_OURS = 0x0047  # time stamp, what AMQP has deprecated, and more flags
FLAGS = {
    0x8000: "content_type",
    0x4000: "content_encoding",
    0x2000: HEADERS,
    0x1000: "delivery_mode",
    0x0800: "priority",
    CORRELATION: "correlation_id",
    0x0200: "reply_to",
    0x0100: "expiration",
    ID: "message_id",
    TYPE: "type",
    0x0010: "user_id",
    0x0008: "app_id",
}
"""In the order of the wire."""
READ_CHUNK = 65536  # bytes


@dataclass(slots=True)
class Outgoing:
    """A message to publish; ``id`` comes back with it when nobody is bound to its key."""

    exchange: str
    routing_key: str
    body: bytes
    headers: dict[str, Any] = field(default_factory=dict)
    id: str = ""
    properties: dict[str, Any] = field(default_factory=dict)
    """Further ones, or others than ours have, named as by py-amqp."""
    mandatory: bool = True

    def frames(self, channel: int, frame_max: int) -> bytes:
        """``basic.publish`` as it is sent."""
        method, properties = _publish(self.exchange, self.routing_key, self.mandatory), self._properties()
        return b"".join(
            (
                FRAME.pack(METHOD, channel, len(method)), method, END,
                FRAME.pack(HEADER, channel, len(properties)), properties, END,
                *_body(self.body, channel, frame_max - OVERHEAD),
            )
        )  # fmt: skip

    def _properties(self) -> bytes:
        told = self.properties
        if not told.keys() <= QUICK.keys():
            return HEADED.pack(BASIC, 0, len(self.body)) + bytes(self.message()._serialize_properties())
        flags, short = WRITTEN, PERSISTENT
        for flag, value in ((CORRELATION, told.get("correlation_id")), (ID, self.id), (TYPE, told.get("type"))):
            if value:
                flags |= flag
                short += _short(value)
        return b"".join((CONTENT.pack(BASIC, 0, len(self.body), flags), JSON, _table(self.headers), short))

    def message(self) -> Message:
        """The same for py-amqp."""
        ours = {"content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 2}
        known = {"application_headers": self.headers, "message_id": self.id or None}
        return Message(self.body, **{**ours, **known, **self.properties})


@lru_cache(10_000)
def _publish(exchange: str, routing_key: str, mandatory: bool) -> bytes:
    return b"".join((PUBLISH, b"\0\0", _short(exchange), _short(routing_key), bytes([mandatory])))


def _short(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass")
    return bytes([len(encoded)]) + encoded


def _table(headers: dict[str, Any]) -> bytes:
    try:
        table = "".join([_name(name) + chr(len(value)) + value for name, value in headers.items()])
    except (TypeError, ValueError):  # a number, of our retries, or an endless text
        table = ""
    # All of it ASCII means that every length is below 128: one character, and one byte.
    if table.isascii() and (table or not headers):
        return LENGTH.pack(len(table)) + table.encode()
    return bytes(dumps("F", [headers]))


@lru_cache(1000)
def _name(name: str) -> str:
    """What comes before the value of a header: its name, the letter of a text, three bytes of its length."""
    return f"{chr(len(name))}{name}S\0\0\0"


def _body(body: bytes, channel: int, longest: int) -> Iterator[bytes]:
    for start in range(0, len(body), longest):
        part = body[start : start + longest]
        yield FRAME.pack(BODY, channel, len(part)) + part + END


@dataclass(slots=True)
class Incoming:
    """A message as it was delivered, whatever is in it; ``properties`` are named as by py-amqp."""

    body: bytes
    headers: dict[str, Any]
    properties: dict[str, Any]
    tag: int = 0
    redelivered: bool = False
    routing_key: str = ""
    arrived: float = 0.0
    """By the monotonic clock, where it matters."""

    @classmethod
    def of(cls, message: Any) -> "Incoming":
        """What py-amqp has read."""
        told, properties = message.delivery_info, message.properties
        headers = properties.pop(HEADERS, None) or {}
        tag, redelivered, key = told["delivery_tag"], bool(told["redelivered"]), told["routing_key"]
        return cls(bytes(message.body or b""), headers, properties, tag, redelivered, key)


class Inbound:
    """What a connection reads. A delivery goes straight to the receiver of its channel."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._at = 0
        self.receivers: dict[int, Callable[[Incoming], None]] = {}

    def read(self) -> None:
        """Wait for the socket, and handle all that it has. Raise ``TimeoutError`` when nothing comes."""
        transport = self._connection.transport
        chunk = transport.sock.recv(READ_CHUNK)
        if not chunk:
            raise ConnectionResetError("closed by the broker")
        self._connection.bytes_recv += 1
        buffer, self._at = transport._read_buffer + chunk, 0
        try:
            while self._take(buffer, self._at):
                pass
        finally:
            transport._read_buffer = buffer[self._at :]

    def _take(self, buffer: bytes, start: int) -> bool:
        """Handle what begins at ``start``, if all of it is there; whatever comes of it, it is read only once."""
        if len(buffer) - start < OVERHEAD:
            return False
        kind, channel, length = FRAME.unpack_from(buffer, start)
        receive = self.receivers.get(channel)
        if receive is not None and (found := delivery(buffer, start)):
            message, self._at = found
            receive(message)
            return True
        end = start + OVERHEAD + length
        if end > len(buffer):
            return False
        if buffer[end - 1 : end] != END:
            raise UnexpectedFrame("frame without its end")
        self._at = end
        self._connection.on_inbound_frame((kind, channel, buffer[start + FRAME.size : end - 1]))
        return True


def delivery(buffer: bytes, start: int) -> tuple[Incoming, int] | None:
    """The message whose frames begin at ``start``, and where they end.

    None when it is none, or not all there, or has what py-amqp must read.
    """
    try:
        return _delivery(buffer, start)
    except (error, IndexError, ValueError):
        return None


def _delivery(buffer: bytes, start: int) -> tuple[Incoming, int] | None:
    method = start + FRAME.size
    if buffer[method : method + 4] != DELIVER:
        return None
    _, channel, length = FRAME.unpack_from(buffer, start)
    head = start + OVERHEAD + length
    kind, of, length, _, _, size, flags = HEAD.unpack_from(buffer, head)
    tail = head + OVERHEAD + length
    end = tail + OVERHEAD + size
    if (kind, of) != (HEADER, channel) or FRAME.unpack_from(buffer, tail) != (BODY, channel, size):
        return None
    if buffer[end - 1 : end] != END:
        return None
    at = method + 5 + buffer[method + 4]  # behind the consumer's tag
    tag, redelivered, exchange = DELIVERED.unpack_from(buffer, at)
    routing_key, _ = _text(buffer, at + DELIVERED.size + exchange)
    properties = _properties(buffer, head + HEAD.size, tail - 1, flags)
    headers = properties.pop(HEADERS, {})
    body = buffer[tail + FRAME.size : end - 1]
    return Incoming(body, headers, properties, tag, bool(redelivered & 1), routing_key), end


def _properties(buffer: bytes, at: int, end: int, flags: int) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name, read in _fields(flags):
        properties[name], at = read(buffer, at)
    if at != end:
        raise ValueError("properties of another length")
    return properties


@cache
def _fields(flags: int) -> list[tuple[str, Callable[[bytes, int], tuple[Any, int]]]]:
    """The properties that are there, and how each is read."""
    if flags & NOT_OURS:
        raise ValueError("properties that are none of ours")
    special = {HEADERS: _headers, "delivery_mode": _octet, "priority": _octet}
    return [(name, special.get(name, _text)) for flag, name in FLAGS.items() if flags & flag]


def _octet(buffer: bytes, at: int) -> tuple[int, int]:
    return buffer[at], at + 1


def _text(buffer: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + buffer[at]
    return buffer[at + 1 : end].decode(errors="replace"), end


def _headers(buffer: bytes, at: int) -> tuple[dict[str, str], int]:
    headers = {}
    (length,) = LENGTH.unpack_from(buffer, at)
    at += LENGTH.size
    end = at + length
    while at < end:
        name = at + 1
        value = name + buffer[at]
        kind, length = ITEM.unpack_from(buffer, value)
        if kind != TEXT:
            raise ValueError("a header that is no text")
        text = value + ITEM.size
        at = text + length
        headers[buffer[name:value].decode(errors="replace")] = buffer[text:at].decode()
    if at != end:
        raise ValueError("headers of another length")
    return headers, end
