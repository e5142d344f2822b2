"""Parts of the chassis that need no server: envelope, cursors, personal data, logs, reading of messages."""

import base64
import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any

import orjson
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DuplicateKeyError,
    ExecutionTimeout,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
    WriteConcernError,
    WTimeoutError,
)

from services.chassis import breaker
from services.chassis.breaker import Breaker
from services.chassis.crashpoints import crashpoint
from services.chassis.environment import describe
from services.chassis.frames import Incoming
from services.chassis.messages import PREFIX, Envelope, dump, routing_key
from services.chassis.outage import Outage, is_transient
from services.chassis.personal import blind_index, decrypt, encrypt, personal_fields
from services.chassis.repository import decode_cursor, decode_position, encode_cursor, slice_page
from services.chassis.settings import Settings, settings
from services.chassis.subscriber import MAX_BODY, Delivery, Rejected, carried, parse, raw
from services.contracts.dispatch import OrderAccepted, OrderCompleted, Segment
from services.contracts.errors import Conflict, Invalid, Unavailable
from services.contracts.privacy import Secret, mask, mask_name
from services.contracts.registry import Category, Tier
from tests.builders import HOUR, MORNING, VILLAGE

LONE_SURROGATE = "\ud800"


def an_event(**changed: Any) -> OrderAccepted:
    return OrderAccepted(**{"order_id": "o1", "site": VILLAGE, "tier": Tier.STATION, "team_id": "t1"} | changed)


def an_envelope(**changed: Any) -> Envelope:
    known = {
        "id": "01K0000000000000000000000E",
        "type": "cn.sidan.order.accepted.v1",
        "source": "/sidan/dispatch",
        "subject": "o1",
        "time": datetime(2026, 6, 3, 1, 0, 0, 123000, tzinfo=UTC),
        "sequence": 7,
        "site": VILLAGE,
        "data": dump(an_event()),
        "correlation_id": "c1",
        "causation_id": "e0",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    return Envelope(**known | changed)


def a_delivery(headers: dict[str, Any] | None = None, body: bytes | None = None) -> Delivery:
    envelope = an_envelope()
    return Delivery(
        envelope.data if body is None else body, envelope.headers() if headers is None else headers, "m1", 1, 1, 0
    )


# -- envelope -------------------------------------------------------------------------------------------


def test_the_headers_are_those_of_cloudevents_in_binary_mode() -> None:
    assert an_envelope().headers() == {
        "cloudEvents_specversion": "1.0",
        "cloudEvents_id": "01K0000000000000000000000E",
        "cloudEvents_type": "cn.sidan.order.accepted.v1",
        "cloudEvents_source": "/sidan/dispatch",
        "cloudEvents_subject": "o1",
        "cloudEvents_time": "2026-06-03T01:00:00.123+00:00",
        "cloudEvents_sequence": "0000000007",
        "cloudEvents_sitecode": VILLAGE,
        "cloudEvents_correlationid": "c1",
        "cloudEvents_causationid": "e0",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }


@pytest.mark.parametrize(
    "envelope",
    [an_envelope(), an_envelope(correlation_id="", causation_id="", traceparent=""), an_envelope(sequence=12345678901)],
    ids=["full", "without a trace", "after more than ten digits"],
)
def test_an_envelope_is_read_back_from_its_headers(envelope: Envelope) -> None:
    assert Envelope.parse(envelope.headers(), envelope.data) == envelope


def test_the_time_of_another_zone_is_told_in_utc() -> None:
    china = datetime(2026, 6, 3, 9, tzinfo=timezone(timedelta(hours=8)))
    assert an_envelope(time=china).headers()["cloudEvents_time"] == "2026-06-03T01:00:00.000+00:00"


REQUIRED = ["id", "type", "source", "subject", "time", "sequence"]


@pytest.mark.parametrize("value", [None, "", 7, b"x", ["x"], {"a": "b"}, True, LONE_SURROGATE], ids=repr)
@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_attribute_that_is_missing_or_no_text_is_refused(name: str, value: Any) -> None:
    headers: dict[str, Any] = an_envelope().headers()
    headers[PREFIX + name] = value
    with pytest.raises(ValueError):
        Envelope.parse(headers, b"{}")
    del headers[PREFIX + name]
    with pytest.raises(ValueError, match=f"attribute {name} is missing"):
        Envelope.parse(headers, b"{}")


@pytest.mark.parametrize("sequence", ["x", "1.5", "-1", "1e3", "0x10", "9" * 5000])
def test_a_sequence_that_is_no_whole_number_is_refused(sequence: str) -> None:
    with pytest.raises(ValueError):
        Envelope.parse(an_envelope().headers() | {PREFIX + "sequence": sequence}, b"{}")


@pytest.mark.parametrize("time", ["yesterday", "2026-13-01T00:00:00Z", "1780000000", "2026-06-03T01:00:00+99:00"])
def test_a_time_that_is_none_is_refused(time: str) -> None:
    with pytest.raises(ValueError):
        Envelope.parse(an_envelope().headers() | {PREFIX + "time": time}, b"{}")


@pytest.mark.parametrize("value", [7, None, b"x", ["x"], LONE_SURROGATE], ids=repr)
@pytest.mark.parametrize("name", [PREFIX + "correlationid", PREFIX + "causationid", PREFIX + "sitecode", "traceparent"])
def test_an_optional_attribute_that_is_no_text_is_left_out(name: str, value: Any) -> None:
    read = Envelope.parse(an_envelope().headers() | {name: value}, b"{}")
    assert "" in (read.correlation_id, read.causation_id, read.site, read.traceparent)


def test_an_endless_correlation_id_is_cut() -> None:
    read = Envelope.parse(an_envelope().headers() | {PREFIX + "correlationid": "x" * 10_000}, b"{}")
    assert len(read.correlation_id) == 128


@pytest.mark.parametrize(
    ("site", "key"),
    [
        ("130802103202", "order.completed.130802.103.202"),
        ("130802103", "order.completed.130802.103.0"),
        ("130802", "order.completed.130802.0.0"),
        ("1308", "order.completed.1308.0.0"),
        ("", "order.completed.0.0.0"),
    ],
)
def test_the_routing_key_splits_the_place_by_six_three_three(site: str, key: str) -> None:
    assert routing_key("order.completed", site) == key


def test_an_envelope_knows_its_exchange_and_routing_key() -> None:
    assert an_envelope().exchange == "dispatch.events"
    assert an_envelope().routing_key == "order.accepted.130802.103.202"
    assert an_envelope(type="cn.sidan.order.accepted.v12").routing_key == "order.accepted.130802.103.202"


def test_the_data_of_a_segment_are_from_and_to() -> None:
    event = OrderCompleted(
        order_id="o1", site=VILLAGE, tier=Tier.STATION, team_id="t1", category=Category.COMMUNITY, placed_on=MORNING,
        segments=[Segment(volunteer_id="v1", start=MORNING, end=MORNING + HOUR)],
    )  # fmt: skip
    (segment,) = orjson.loads(dump(event))["segments"]
    assert segment == {"volunteer_id": "v1", "from": "2026-06-03T01:00:00Z", "to": "2026-06-03T02:00:00Z"}


# -- cursors --------------------------------------------------------------------------------------------


@given(position=some.text(some.characters(codec="utf-8"), min_size=1))
def test_a_cursor_is_read_back(position: str) -> None:
    assert decode_cursor(encode_cursor(position)) == position


@pytest.mark.parametrize("cursor", ["!!!!", "a", "é", "//", "/w", "MTA=", "M TA", "$gt", " ", "MTB"])
def test_a_cursor_that_is_none_of_ours_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid):
        decode_cursor(cursor)


@pytest.mark.parametrize("position", ["", "x", "-1", "1.5", "9" * 30, "１２"])
def test_a_cursor_of_another_list_is_no_position(position: str) -> None:
    with pytest.raises(Invalid):
        decode_position(encode_cursor(position))


def test_pages_of_a_list_give_each_item_once() -> None:
    seen, cursor = [], None
    while True:
        page, cursor = slice_page(range(7), 3, cursor)
        seen.append(page)
        if cursor is None:
            break
    assert seen == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_page_is_never_empty_by_its_limit_nor_longer_than_two_hundred() -> None:
    assert len(slice_page(range(500), 0, None)[0]) == 1
    assert len(slice_page(range(500), 1000, None)[0]) == 200
    assert slice_page([], 10, None) == ([], None)
    assert slice_page(range(3), 10, encode_cursor("99")) == ([], None)


# -- personal data at rest ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "王秀英", "11010519491231002X", "x" * 10_000])
def test_what_is_encrypted_is_read_back(data_key: None, text: str) -> None:
    assert decrypt(encrypt(text)) == text


def test_the_same_text_is_never_encrypted_to_the_same_bytes_and_never_readable(data_key: None) -> None:
    one, other = encrypt("王秀英"), encrypt("王秀英")
    assert one != other
    assert "王秀英" not in one
    assert "王秀英".encode() not in base64.urlsafe_b64decode(one.removeprefix("enc2:one:"))


@pytest.mark.parametrize("position", [0, 11, 12, 20, -1])
def test_a_changed_byte_shows(data_key: None, position: int) -> None:
    sealed = bytearray(base64.urlsafe_b64decode(encrypt("王秀英").removeprefix("enc2:one:")))
    sealed[position] ^= 1
    with pytest.raises(InvalidTag):
        decrypt("enc2:one:" + base64.urlsafe_b64encode(sealed).decode())


def test_a_blind_index_finds_the_same_text_and_tells_nothing(data_key: None) -> None:
    assert blind_index("11010519491231002X") == blind_index("11010519491231002X")
    assert blind_index("11010519491231002X") != blind_index("110105194912310021")
    assert "1101" not in blind_index("11010519491231002X")[:4] + "."


def test_a_key_of_the_wrong_length_stops_the_process_at_its_start(
    data_key: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIDAN_DATA_KEY", base64.urlsafe_b64encode(b"short").decode())
    with pytest.raises(ValueError, match="32 bytes") as refused:
        settings()
    assert "c2hvcnQ" not in str(refused.value)


@pytest.mark.parametrize("told", ["soon", "1,10", "[]", "[0]"])
def test_wrong_retry_delays_are_named_at_start(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AMQP_URI": "amqp://broker/",
        "MONGO_URI": "mongodb://db/",
        "SIDAN_DATA_KEY": base64.urlsafe_b64encode(bytes(range(32))).decode(),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SIDAN_RETRY_DELAYS", raising=False)
    assert Settings().retry_delays == (1, 10, 60)
    monkeypatch.setenv("SIDAN_RETRY_DELAYS", "[0.5, 2]")
    assert Settings().retry_delays == (0.5, 2)
    monkeypatch.setenv("SIDAN_RETRY_DELAYS", told)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert describe(refused.value).startswith("SIDAN_RETRY_DELAYS: ")


@dataclass
class Holder:
    id: str
    name: Secret
    phone: Secret | None
    address: "Secret | None" = None
    nick: Annotated[str, "public"] = ""
    version: int = 0


def test_personal_fields_are_found_also_where_they_are_optional() -> None:
    assert personal_fields(Holder) == {"name", "phone", "address"}


# -- masks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("11010519491231002X", "110105*********02X"),
        ("130802201302020020", "130802*********020"),
        ("11010519491231002x", "110105*********02x"),
        ("证号130802201302020020。", "证号130802*********020。"),
        ("13800138000", "138****8000"),
        ("电话13800138000，或13900139000", "电话138****8000，或139****9000"),
        ("+8613800138000", "+86138****8000"),
        ("0086 13800138000", "0086 138****8000"),
        ("138 0013 8000", "138****8000"),
        ("138-0013-8000", "138****8000"),
        ("１３８００１３８０００", "１３８****８０００"),
        ("order 01K0000000000000000000000E", "order 01K0000000000000000000000E"),
        ("12800138000", "12800138000"),
        ("130802103202", "130802103202"),
        ("1138001380001", "1138001380001"),
        ("", ""),
    ],
)
def test_numbers_of_people_are_masked_inside_any_text(text: str, masked: str) -> None:
    assert mask(text) == masked
    assert mask(masked) == masked


def test_exactly_the_characters_seven_to_fifteen_of_an_id_number_are_hidden() -> None:
    number = "440524188001010014"
    hidden = [at for at, (a, b) in enumerate(zip(number, mask(number), strict=True), start=1) if a != b]
    assert hidden == list(range(7, 16))


def test_a_name_keeps_its_first_character() -> None:
    assert [mask_name(name) for name in ("王秀英", "王芳", "王")] == ["王**", "王*", "王*"]


LOGGING = """
import logging
from dataclasses import dataclass
from services.chassis import telemetry

@dataclass
class Person:
    phone: str

telemetry.configure_logging("dispatch")
telemetry.enter(telemetry.Trace("c-13800138000", "", "00-0a-0b-01"))
log = telemetry.logger("test")
number = "11010519491231002X"
log.warning(f"said {number}", plain="13800138000", nested={"list": ["13800138000", {"deep": number}]}, many=(number,))
log.warning("objects", person=Person("13800138000"), error=ValueError(number), keyed={"13800138000": 1, 7: 2})
log.warning("not text", id="\\ud800")
try:
    raise ValueError(f"no such person {number}")
except ValueError:
    log.error("failed", exc_info=True)
    logging.getLogger("library").exception("failed for %s", number)
"""


def test_log_lines_carry_the_correlation_id_and_no_number_of_a_person() -> None:
    done = subprocess.run([sys.executable, "-c", LOGGING], capture_output=True, text=True, check=True, timeout=30)
    assert done.stderr == ""
    assert "13800138000" not in done.stdout
    assert "11010519491231002X" not in done.stdout
    said, objects, not_text, failed, library = map(json.loads, done.stdout.splitlines())
    assert said["event"] == "said 110105*********02X"
    assert said["nested"] == {"list": ["138****8000", {"deep": "110105*********02X"}]}
    assert said["many"] == ["110105*********02X"]
    assert (said["level"], said["module"], said["correlation_id"]) == ("warning", "test", "c-138****8000")
    assert "138****8000" in objects["person"]
    assert "not text" in not_text["event"]
    assert failed["exception"].endswith("ValueError\n") and "no such person" not in failed["exception"]
    assert library["exception"] == failed["exception"]
    assert (library["service"], library["logger"]) == ("dispatch", "library")
    assert "110105*********02X" in library["event"]


# -- crash points ---------------------------------------------------------------------------------------


def test_without_its_variable_a_crash_point_does_nothing() -> None:
    for name in ("before_commit", "after_commit", "before_ack"):
        crashpoint(name)


# -- reading messages -----------------------------------------------------------------------------------

junk = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text() | some.binary(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=6,
)
header_names = some.sampled_from([PREFIX + name for name in [*REQUIRED, "sitecode", "correlationid"]]) | some.text()
fields = some.sampled_from(["order_id", "site", "tier", "team_id"])
some_body = (
    some.binary()
    | some.sampled_from([b"", b"null", b"[]", b"{", b'"\\ud800"', b"[" * 5000, b'{"site":1e999}', b"\xff\xfe", b"NaN"])
    | junk.map(lambda value: repr(value).encode("utf-8", "surrogatepass"))
    | some.dictionaries(fields, some.text(some.characters(codec="utf-8"))).map(orjson.dumps)
)


@given(headers=some.dictionaries(header_names, junk), body=some_body)
def test_junk_is_rejected_or_no_concern_of_ours_but_never_an_exception(headers: dict[str, Any], body: bytes) -> None:
    read = parse(OrderAccepted, a_delivery(headers, body))
    if isinstance(read, Rejected):
        assert read.reason.encode()


@given(replaced=some.dictionaries(header_names, junk, max_size=2), body=some_body)
def test_a_right_message_with_something_wrong_in_it_never_raises(replaced: dict[str, Any], body: bytes) -> None:
    read = parse(OrderAccepted, a_delivery(an_envelope().headers() | replaced, body))
    assert isinstance(read, Rejected | Delivery)


def test_a_right_message_is_read() -> None:
    read = parse(OrderAccepted, a_delivery())
    assert isinstance(read, Delivery)
    assert read.event == an_event()
    assert read.envelope == an_envelope()


def test_an_event_of_a_newer_version_is_none_of_ours() -> None:
    newer = an_envelope(type="cn.sidan.order.accepted.v2", data=b'{"other": 1}')
    read = parse(OrderAccepted, a_delivery(newer.headers(), newer.data))
    assert isinstance(read, Delivery) and read.event is None


def test_unknown_fields_of_an_event_are_ignored() -> None:
    body = orjson.dumps({**orjson.loads(dump(an_event())), "added": "later"})
    read = parse(OrderAccepted, a_delivery(body=body))
    assert isinstance(read, Delivery) and read.event == an_event()


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"null", b"7", b"[" * 100_000], ids=lambda body: body[:4])
def test_a_body_that_cannot_be_read_is_rejected_with_the_reason(body: bytes) -> None:
    read = parse(OrderAccepted, a_delivery(body=body))
    assert isinstance(read, Rejected) and read.reason


def test_a_wrong_field_is_named_but_its_value_is_not_told() -> None:
    read = parse(OrderAccepted, a_delivery(body=orjson.dumps({"order_id": "o1", "site": {"phone": "13800138000"}})))
    assert isinstance(read, Rejected)
    assert "site" in read.reason and "team_id" in read.reason
    assert "13800138000" not in read.reason


def test_an_endless_body_is_rejected() -> None:
    read = parse(OrderAccepted, a_delivery(body=b" " * (MAX_BODY + 1)))
    assert isinstance(read, Rejected)


def test_foreign_headers_go_no_further() -> None:
    ours = {**an_envelope().headers(), "attempt": 2}
    foreign = {
        "nameko.call_id_stack": ["forged"],
        "x-death": [{"count": 9}],
        "reason": "forged",
        "authorization": "Bearer x",
        "cloudevents_id": "wrong case",
        PREFIX + "list": ["no text"],
        PREFIX + "table": {"no": "text"},
    }
    assert carried({**ours, **foreign}) == ours


@pytest.mark.parametrize(
    ("header", "attempt"), [(2, 2), (0, 0), (-1, 0), (1000, 0), ("2", 0), (None, 0), ([1], 0), (2**70, 0), (1.5, 0)]
)
def test_a_forged_attempt_starts_from_nothing(header: Any, attempt: int) -> None:
    assert raw(Incoming(b"{}", {"attempt": header}, {}), 1).attempt == attempt


def test_a_message_without_headers_or_properties_is_taken_and_rejected() -> None:
    delivery = raw(Incoming(b"{}", {}, {}), 1)
    assert (delivery.body, delivery.headers, delivery.attempt) == (b"{}", {}, 0)
    assert isinstance(parse(OrderAccepted, delivery), Rejected)


# -- outage and breaker -------------------------------------------------------------------------------

TRANSIENT = [
    Unavailable(),
    AutoReconnect(),
    NotPrimaryError("stepped down"),
    ServerSelectionTimeoutError(),
    ExecutionTimeout("too slow"),
    WTimeoutError("no majority in time"),
    WriteConcernError("not written by the majority"),
    OperationFailure("conflict", 112, {"errorLabels": ["TransientTransactionError"]}),
    BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64}]}),
]
LASTING = [
    ValueError(),
    Conflict(),
    DuplicateKeyError("twice"),
    OperationFailure("not authorized", 13),
    BulkWriteError({"writeErrors": [{"code": 121}], "writeConcernErrors": [{"code": 64}]}),
]


@pytest.mark.parametrize("error", TRANSIENT, ids=lambda error: type(error).__name__)
def test_what_may_succeed_later_is_transient(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
def test_what_stays_wrong_is_not_transient(error: Exception) -> None:
    assert not is_transient(error)


def test_ten_messages_that_fail_in_a_row_make_an_outage_which_the_first_success_ends() -> None:
    outage = Outage("q")
    charged = [outage.failed(f"m{n}", ExecutionTimeout("")) for n in range(10)]
    assert charged == [True] * 9 + [False] and outage.on
    assert not outage.failed("m9", ExecutionTimeout("")), "none is charged while it lasts"
    assert outage.failed("m10", ValueError()), "but for what is its own fault"
    outage.succeeded("m11")
    assert not outage.on and outage.failed("m0", ExecutionTimeout(""))


def test_one_message_that_fails_again_and_again_makes_no_outage() -> None:
    outage = Outage("q")
    assert all(outage.failed("m", ExecutionTimeout("")) for _ in range(50)) and not outage.on


def test_a_success_between_failures_begins_the_count_anew() -> None:
    outage = Outage("q")
    for n in range(30):
        assert outage.failed(f"m{n}", ExecutionTimeout(""))
        if n % 9 == 8:
            outage.succeeded("good")


def test_a_lost_connection_is_an_outage_at_once_but_not_for_a_message_that_failed_while_others_succeeded() -> None:
    outage = Outage("q")
    assert not outage.failed("m", AutoReconnect()) and outage.on
    outage.succeeded("good")
    assert outage.suspects == {"m"}
    assert outage.failed("m", AutoReconnect()) and not outage.on
    assert not outage.failed("other", AutoReconnect()) and outage.on


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def an_open_breaker(clock: Clock) -> Breaker:
    tripped = Breaker("thing", clock)
    for _ in range(breaker.FAILURES):
        tripped.failed()
    return tripped


def test_a_breaker_opens_after_five_failures_in_a_row_within_the_window(clock: Clock) -> None:
    some = Breaker("thing", clock)
    for _ in range(4):
        some.failed()
    some.succeeded()
    for _ in range(4):
        some.failed()
    clock.now += breaker.WINDOW
    some.failed()
    assert some.state == "closed" and some.allow()
    for _ in range(4):
        some.failed()
    assert some.state == "open" and not some.allow()


def test_a_half_open_breaker_lets_one_try_and_closes_when_that_succeeds(clock: Clock) -> None:
    tripped = an_open_breaker(clock)
    clock.now += 2 * breaker.FIRST_PAUSE
    assert [tripped.allow() for _ in range(3)] == [True, False, False] and tripped.state == "half-open"
    tripped.succeeded()
    assert [tripped.allow() for _ in range(3)] == [True] * 3 and tripped.state == "closed"


def test_the_pause_of_an_open_breaker_grows_to_a_bound(clock: Clock) -> None:
    tripped, pauses = an_open_breaker(clock), []
    for _ in range(8):
        began = clock.now
        while not tripped.allow():
            clock.now += 0.01
        pauses.append(clock.now - began)
        tripped.failed()
    for expected, pause in zip([0.5, 1, 2, 2, 2, 2, 2, 2], pauses, strict=True):
        assert expected - 0.02 <= pause <= 1.25 * expected + 0.02


def test_a_late_failure_of_a_call_from_before_does_not_prolong_the_pause(clock: Clock) -> None:
    tripped = an_open_breaker(clock)
    clock.now += breaker.FIRST_PAUSE / 2
    tripped.failed()
    clock.now += breaker.FIRST_PAUSE
    assert tripped.allow()


def test_a_trial_whose_outcome_is_never_told_is_followed_by_another(clock: Clock) -> None:
    tripped = an_open_breaker(clock)
    clock.now += 2 * breaker.FIRST_PAUSE
    assert tripped.allow() and not tripped.allow()
    clock.now += breaker.TRIAL
    assert tripped.allow()
