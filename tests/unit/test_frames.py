"""Messages as frames, held against py-amqp: what one writes, the other reads."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from struct import pack
from typing import Any

import amqp
import pytest
from amqp import spec
from amqp.method_framing import frame_handler, frame_writer
from amqp.serialization import dumps, loads
from hypothesis import example, given, settings
from hypothesis import strategies as some

from services.chassis.frames import Inbound, Incoming, Outgoing, delivery

FRAME_MAX = 4096
CHANNEL = 3
LONE_SURROGATE = "\ud800"

text = some.text(some.characters(codec="utf-8"), max_size=300)
short = some.text(some.characters(codec="utf-8"), max_size=60)
numbers = some.integers(-(2**63), 2**63 - 1)
ours = some.dictionaries(short, text | numbers | some.booleans(), max_size=12)
anything = some.recursive(
    text | some.binary(max_size=300) | numbers | some.booleans() | some.none() | some.floats(allow_nan=False),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(short, inner, max_size=3),
    max_leaves=5,
)
bodies = some.binary(max_size=200) | some.integers(FRAME_MAX - 20, 3 * FRAME_MAX).map(bytes)
properties = some.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(["content_type", "content_encoding", "correlation_id", "reply_to", "expiration"], short),
        **dict.fromkeys(["message_id", "type", "user_id", "app_id", "cluster_id"], short),
        "application_headers": some.dictionaries(short, anything, max_size=4) | some.dictionaries(short, text),
        "delivery_mode": some.integers(0, 255),
        "priority": some.integers(0, 255),
        "timestamp": some.integers(0, 2**64 - 1),
    },
)


class Wire:
    """py-amqp's end of a connection, without a broker."""

    frame_max = FRAME_MAX
    bytes_sent = bytes_recv = 0

    def __init__(self) -> None:
        self.transport = self
        self.sock: Any = None
        self._read_buffer = b""
        self.written = b""
        self.methods: list[tuple[int, tuple[int, int], bytes, Any]] = []
        self.on_inbound_frame = frame_handler(self, lambda *method: self.on_method(*method))
        self.send_frame = frame_writer(self, self)

    def on_method(self, *method: Any) -> None:
        self.methods.append(method)

    def write(self, frame: Any) -> None:
        self.written += bytes(frame)

    def deliver(self, message: amqp.Message, tag: int = 1, redelivered: bool = False, key: str = "a.b") -> None:
        arguments = dumps("sLbss", ("consumer", tag, redelivered, "an.exchange", key))
        self.send_frame(1, CHANNEL, spec.Basic.Deliver, arguments, message)

    def read(self, frames: bytes) -> None:
        while frames:
            size = int.from_bytes(frames[3:7], "big")
            assert frames[7 + size] == 0xCE
            self.on_inbound_frame((frames[0], int.from_bytes(frames[1:3], "big"), frames[7 : 7 + size]))
            frames = frames[8 + size :]


def as_py_amqp_reads(frames: bytes) -> list[Incoming]:
    wire = Wire()
    wire.read(frames)
    read = []
    for _channel, signature, arguments, message in wire.methods:
        assert signature == spec.Basic.Deliver
        (_tag, tag, redelivered, _exchange, key), _ = loads("sLbss", arguments, 4)
        message.delivery_info = {"delivery_tag": tag, "redelivered": redelivered, "routing_key": key}
        read.append(Incoming.of(message))
    return read


# -- writing --------------------------------------------------------------------------------------------


@given(
    body=bodies, headers=ours, exchange=short, key=short, id=short, type=short, correlation_id=short,
    mandatory=some.booleans(),
)  # fmt: skip
@example(b"", {}, "", "", "", "", "", False)
@example(b"{}", {"long": "x" * 127, "longer": "x" * 128, "longest": "x" * 1_200_000}, "e", "k", "i", "t", "c", True)
@example(b"{}", {"reason": f"ValueError: {LONE_SURROGATE}", "attempt": 2}, "e", "k", "i", "t", "c", True)
@settings(deadline=None)
def test_what_we_publish_is_what_py_amqp_would(
    body: bytes, headers: dict[str, Any], exchange: str, key: str, id: str, type: str, correlation_id: str,
    mandatory: bool,
) -> None:  # fmt: skip
    told = {"message_id": id, "type": type, "correlation_id": correlation_id}
    message = amqp.Message(
        body, content_type="application/json", content_encoding="utf-8", delivery_mode=2,
        application_headers=headers, **{name: value for name, value in told.items() if value},
    )  # fmt: skip
    wire = Wire()
    arguments = dumps("Bssbb", (0, exchange, key, mandatory, False))
    wire.send_frame(1, CHANNEL, spec.Basic.Publish, arguments, message)
    told.pop("message_id")
    outgoing = Outgoing(exchange, key, body, headers, id, told, mandatory)
    written = outgoing.frames(CHANNEL, FRAME_MAX)
    assert payloads(written) == payloads(wire.written)


@given(properties=properties)
def test_other_properties_are_written_by_py_amqp(properties: dict[str, Any]) -> None:
    properties = {"priority": 1, **properties}
    wire = Wire()
    told = {"content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 2, **properties}
    message = amqp.Message(b"{}", **{"application_headers": {}, **told})
    wire.send_frame(1, CHANNEL, spec.Basic.Publish, dumps("Bssbb", (0, "e", "k", True, False)), message)
    assert Outgoing("e", "k", b"{}", properties=properties).frames(CHANNEL, FRAME_MAX) == wire.written


def payloads(frames: bytes) -> tuple[list[bytes], bytes]:
    """Method and header as they are, and the body, which may be cut elsewhere but fits the limit."""
    found = []
    while frames:
        size = int.from_bytes(frames[3:7], "big")
        assert size + 8 <= FRAME_MAX or len(found) < 2
        found.append(frames[:3] + frames[7 : 7 + size] + frames[7 + size : 8 + size])
        frames = frames[8 + size :]
    return found[:2], b"".join(part[3:-1] for part in found[2:])


# -- reading --------------------------------------------------------------------------------------------


@given(properties=properties, body=bodies, tag=some.integers(0, 2**64 - 1), redelivered=some.booleans(), key=short)
@settings(deadline=None)
def test_what_py_amqp_writes_is_read_as_py_amqp_reads_it_or_left_to_it(
    properties: dict[str, Any], body: bytes, tag: int, redelivered: bool, key: str
) -> None:
    wire = Wire()
    wire.deliver(amqp.Message(body, **properties), tag, redelivered, key)
    (expected,) = as_py_amqp_reads(wire.written)
    found = delivery(b"before" + wire.written + b"after", len(b"before"))
    if found is not None:
        assert found == (expected, len(b"before" + wire.written))
    headers = properties.get("application_headers", {})
    plain = all(isinstance(value, str) for value in headers.values())
    known = not properties.keys() & {"timestamp", "cluster_id"}
    if plain and known and 0 < len(body) <= FRAME_MAX - 100:
        assert found is not None, "what is like ours is read here"


@given(headers=some.dictionaries(short, text, max_size=12), body=some.binary(min_size=1, max_size=200), id=short)
def test_what_we_publish_comes_back_as_it_was(headers: dict[str, str], body: bytes, id: str) -> None:
    published = Outgoing("e", "k", body, headers, id, {"type": "a.type", "correlation_id": "c1"}).frames(
        CHANNEL, FRAME_MAX
    )
    found = delivery(delivered(published), 0)
    assert found is not None
    message, _ = found
    assert (message.headers, message.body) == (headers, body)
    assert message.properties.get("message_id", "") == id
    assert message.properties["content_type"] == "application/json"


def delivered(published: bytes) -> bytes:
    """As the broker passes it on: with a method of its own, header and body unchanged."""
    arguments = pack(">HH", *spec.Basic.Deliver) + dumps("sLbss", ("consumer", 1, False, "e", "k"))
    method = 8 + int.from_bytes(published[3:7], "big")
    return pack(">BHI", 1, CHANNEL, len(arguments)) + arguments + b"\xce" + published[method:]


def a_delivery(**headers: Any) -> bytes:
    wire = Wire()
    wire.deliver(amqp.Message(b"{}", message_id="m1", application_headers={"name": "value", **headers}))
    return wire.written


def test_no_beginning_of_a_message_is_taken_for_the_whole() -> None:
    frames = a_delivery()
    assert all(delivery(frames[:length], 0) is None for length in range(len(frames)))
    assert delivery(frames, 0) is not None


@given(position=some.integers(0, 200), byte=some.integers(0, 255))
@settings(max_examples=1000)
def test_a_changed_byte_never_raises_and_never_reads_beyond_the_message(position: int, byte: int) -> None:
    frames = bytearray(a_delivery() + a_delivery())
    frames[position % len(frames)] = byte
    found = delivery(bytes(frames), 0)
    assert found is None or found[1] <= len(frames)


@pytest.mark.parametrize(
    ("ours", "other"),
    [(b"value", b"\xff\xfe\xfd\xfc\xfb"), (b"nameS", b"namex")],
    ids=["text in another encoding", "bytes"],
)
def test_what_is_no_text_is_left_to_py_amqp(ours: bytes, other: bytes) -> None:
    frames = a_delivery()
    assert ours in frames
    assert delivery(frames.replace(ours, other), 0) is None


def test_a_property_in_another_encoding_is_read_all_the_same() -> None:
    """py-amqp would raise, so that one message of a stranger would cut the link again and again."""
    frames = a_delivery().replace(b"m1", b"\xff1").replace(b"name", b"\xffame")
    with pytest.raises(UnicodeDecodeError):
        as_py_amqp_reads(frames)
    found = delivery(frames, 0)
    assert found and found[0].properties["message_id"] == "\ufffd1"
    assert found[0].headers == {"\ufffdame": "value"}


def test_a_time_stamp_is_not_taken_for_text() -> None:
    wire = Wire()
    looks_like_text = int.from_bytes(bytes([8 + len("type")]) + b"aaaaaaa", "big")
    wire.deliver(amqp.Message(b"{}", timestamp=looks_like_text, type="type"))
    assert delivery(wire.written, 0) is None


# -- a whole connection ---------------------------------------------------------------------------------


@contextmanager
def inbound() -> Iterator[tuple[Inbound, Wire, socket.socket]]:
    broker, wire = socket.socketpair(), Wire()
    wire.sock = broker[0]
    with broker[0], broker[1]:
        yield Inbound(wire), wire, broker[1]


@given(cuts=some.lists(some.integers(0, 4000), max_size=20), kinds=some.lists(some.sampled_from("mthb"), min_size=1))
@settings(deadline=None)
def test_every_frame_arrives_once_and_in_order_however_it_is_cut(cuts: list[int], kinds: list[str]) -> None:
    peer = Wire()
    for tag, kind in enumerate(kinds):
        if kind == "h":
            peer.send_frame(8, 0, None, None, None)
        elif kind == "b":
            peer.send_frame(1, CHANNEL, spec.Basic.Ack, dumps("Lb", (tag, False)), None)
        else:
            peer.deliver(amqp.Message(b"{}", application_headers={"n": tag if kind == "t" else str(tag)}), tag)
    received: list[int] = []
    with inbound() as (reader, wire, broker):
        reader.receivers[CHANNEL] = lambda message: received.append(message.tag)
        wire.on_method = lambda *method: received.append(tag_of(method[2]))  # type: ignore[method-assign]
        edges = sorted({cut % (len(peer.written) + 1) for cut in cuts} | {0, len(peer.written)})
        for start, end in pairwise(edges):
            broker.sendall(peer.written[start:end])
            reader.read()
    assert received == [tag for tag, kind in enumerate(kinds) if kind != "h"]
    assert wire._read_buffer == b""


def tag_of(arguments: bytes) -> int:
    acknowledged = arguments[:4] == pack(">HH", *spec.Basic.Ack)
    read, _ = loads("Lb" if acknowledged else "sLbss", arguments, 4)
    return int(read[0] if acknowledged else read[1])


def test_a_closed_connection_is_an_error_and_not_silence() -> None:
    with inbound() as (reader, _wire, broker):
        broker.close()
        with pytest.raises(OSError):
            reader.read()


def test_a_frame_without_its_end_is_an_error() -> None:
    with inbound() as (reader, _wire, broker):
        broker.sendall(b"\x08\x00\x00\x00\x00\x00\x00\x00")
        with pytest.raises(amqp.exceptions.UnexpectedFrame):
            reader.read()


def test_a_message_whose_receiver_fails_is_not_read_again() -> None:
    with inbound() as (reader, wire, broker):
        reader.receivers[CHANNEL] = lambda _message: 1 / 0
        broker.sendall(a_delivery() + b"rest")
        with pytest.raises(ZeroDivisionError):
            reader.read()
        assert wire._read_buffer == b"rest"
