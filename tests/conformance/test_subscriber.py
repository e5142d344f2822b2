"""What a subscriber promises, one behaviour a test (after NServiceBus' TransportTests and Watermill's suite).

Failing messages and outages as such: ``tests/integration/test_failing_messages.py``; what an operator changes
at the broker: ``test_dependencies.py`` there.
"""

import json
import pickle
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.chassis.messages import PREFIX, Envelope
from services.chassis.parking import PARKING
from services.chassis.subscriber import MAX_BODY
from services.chassis.topology import DEAD_SUFFIX, dead_lettered, retry_queue
from tests.conformance.conftest import Pair
from tests.support.failpoints import failing
from tests.support.operate import Command
from tests.support.processes import CONSUMES, World, eventually
from tests.support.topology import QUEUE
from tests.support.wire import channel_of, envelope, full, metric, publish, publish_events, the_dead

TRIES = 4
"""Of a message: the first, and one after each delay."""


def seen(world: World, thing: str) -> list[dict[str, Any]]:
    """What each attempt at a thing saw."""
    return list(world.database("beta")["attempts"].find({"thing_id": thing}).sort("at"))


def settled(pair: Pair, *things: str) -> None:
    """Each has had its one effect, and nothing is left in the queue or in hand."""
    eventually(lambda: set(things) <= set(pair.applied()), what=f"{things} handled")
    eventually(lambda: pair.depth() == 0 and pair.in_hand() == 0)
    assert sorted(pair.applied()) == sorted(things)


# -- attempts -----------------------------------------------------------------------------------------


def test_body_and_headers_reach_each_attempt_and_the_dead_letters_unchanged(pair: Pair) -> None:
    body = envelope("same", "same", note="poison", tags=["中文", "\t"]).data
    trace = {PREFIX + "correlationid": "c", PREFIX + "causationid": "b", "traceparent": "00-1-2-01"}
    headers = {**envelope("same", "same").headers(), **trace}
    publish(pair, headers, body, message_id="same")
    (letter,) = the_dead(pair, 1)
    assert letter.body == body and letter.message_id == "same"
    assert {name: letter.headers[name] for name in headers} == headers
    attempts = [(one["note"], one["tags"], one["trace"], one["sequence"]) for one in seen(pair, "same")]
    assert attempts == [("poison", ["中文", "\t"], ["c", "same"], 1)] * TRIES


@contextmanager
def gathered(pair: Pair) -> Iterator[None]:
    """What is published in here is handled as one batch."""
    with pair.beta.held_at("before_ack") as wait_held:
        publish_events(pair, [envelope("first", "first", counter="another")])
        wait_held()
        yield
        eventually(lambda: pair.depth() == 0, what="the messages are in hand")


def test_what_the_first_attempt_changes_does_not_reach_the_next(pair: Pair) -> None:
    """Neither the second in this process, after the batch has failed, nor that of the copy."""
    meddle = envelope("m", "m", note="meddle")
    with gathered(pair):
        publish(pair, {**meddle.headers(), PREFIX + "correlationid": "c"}, meddle.data)
        publish_events(pair, [envelope("n", "n")])
    settled(pair, "m", "n")
    assert [(one["tags"], one["trace"]) for one in seen(pair, "m")] == [([], ["c", "m"])] * 3


FORGED: list[dict[str, Any]] = [
    {"attempt": -1},
    {"attempt": 1000},
    {"attempt": 10**12},
    {"attempt": "3"},
    {"attempt": 2.5},
    {"attempt": None},
    {"attempt": [3]},
    {"Attempt": 3, "x-attempt": 3, "retry": 3},
    {"x-death": [{"count": 99, "reason": "rejected", "queue": QUEUE}], "x-delivery-count": 99, "redelivered": 99},
]


def test_only_our_own_counter_counts_attempts_and_it_is_not_believed_beyond_its_bounds(pair: Pair) -> None:
    for n, forged in enumerate(FORGED):
        event = envelope(f"forged-{n}", f"forged-{n}", note="poison")
        publish(pair, {**event.headers(), **forged}, event.data)
    assert [letter.headers["attempt"] for letter in the_dead(pair, len(FORGED))] == [TRIES - 1] * len(FORGED)
    charged = [len(pair.beta.logged("handler failed", f'"forged-{n}"')) for n in range(len(FORGED))]
    assert charged == [TRIES] * len(FORGED)


def test_a_retry_copy_that_the_broker_refuses_is_offered_again_without_a_hot_loop(pair: Pair) -> None:
    with full(pair, pair.broker, retry_queue(0.2)):
        publish_events(pair, [envelope("refused", "refused", note="once")])
        offered = time.monotonic()
        eventually(lambda: len(pair.beta.logged("link cut", "a copy was not taken")) >= 3, what="it is offered again")
        assert time.monotonic() - offered > 2, "with pauses"
        assert len(seen(pair, "refused")) == 1 and pair.depth(QUEUE + DEAD_SUFFIX) == 0
    settled(pair, "refused")
    assert len(seen(pair, "refused")) == 2


def test_a_failure_that_cannot_be_put_on_record_keeps_the_message_without_a_hot_loop(pair: Pair) -> None:
    with failing(pair.mongo, ["findAndModify"], "alwaysOn", errorCode=8000, appName="sidan-beta"):
        publish_events(pair, [envelope("unrecorded", "unrecorded", note="poison")])
        began = time.monotonic()
        eventually(lambda: len(seen(pair, "unrecorded")) >= 3)
        assert time.monotonic() - began > 1.5, "with pauses"
        assert pair.depth(QUEUE + DEAD_SUFFIX) == 0 and not list(pair.database("beta")[PARKING].find())
    pair.database("beta")["healed"].insert_one({})
    settled(pair, "unrecorded")


def test_a_link_cut_between_the_copy_and_the_acknowledgement_means_a_duplicate_and_one_effect(pair: Pair) -> None:
    with pair.beta.held_at("before_ack") as wait_held:
        publish_events(pair, [envelope("cut", "cut", note="once")])
        wait_held()
        pair.reset("beta")
    settled(pair, "cut")
    eventually(lambda: not list(pair.database("beta")[PARKING].find()))
    assert pair.depth(QUEUE + DEAD_SUFFIX) == 0


def test_messages_that_come_one_after_the_other_share_batches(pair: Pair) -> None:
    def batches() -> float:
        return metric(pair.ports["beta"], "sidan_handler_seconds_count")

    def flow() -> Iterator[Envelope]:
        for n in range(60):
            time.sleep(0.006)
            yield envelope(f"flow-{n}", f"flow-{n}")

    before = batches()
    publish_events(pair, flow())
    settled(pair, *(f"flow-{n}" for n in range(60)))
    assert batches() - before <= 60 / 2


# -- links --------------------------------------------------------------------------------------------


def test_a_link_that_breaks_under_an_acknowledgement_ends_no_process_and_the_effect_is_one(pair: Pair) -> None:
    with pair.beta.held_at("before_ack", whole=True) as wait_held:
        publish_events(pair, [envelope("unsaid", "unsaid")])
        wait_held()
        pair.links["beta"].mode = "reset"
    eventually(lambda: pair.beta.logged("settling failed"))
    pair.links["beta"].mode = "pass"
    settled(pair, "unsaid")
    assert len(seen(pair, "unsaid")) == 1, "the inbox knows it"


def test_connections_closed_by_an_operator_while_handling_cost_no_second_run(pair: Pair) -> None:
    publish_events(pair, [envelope("closed", "closed", note="dawdle:2")])
    eventually(lambda: seen(pair, "closed"))
    links = len(pair.beta.logged(CONSUMES))
    pair.broker.ctl("close_all_connections", "-p", pair.vhost, "the test closes them")
    eventually(lambda: len(pair.beta.logged(CONSUMES)) > links, what="it consumes again")
    settled(pair, "closed")
    assert len(seen(pair, "closed")) == 1


def test_a_link_lost_while_handling_lets_another_replica_run_it_too_and_the_effect_is_one(pair: Pair) -> None:
    clashes = metric(pair.ports["beta"], "sidan_inbox_hits_total")
    with pair.beta.held_at("before_commit") as wait_held:
        publish_events(pair, [envelope("twice", "twice")])
        wait_held()
        other = pair.start("beta")  # past the proxy
        pair.links["beta"].mode = "reset"
        eventually(lambda: pair.applied() == ["twice"], what="the other has done it, while the first is still at it")
    eventually(lambda: metric(pair.ports["beta"], "sidan_inbox_hits_total") > clashes, what="the first comes too late")
    other.stop()
    pair.links["beta"].mode = "pass"
    settled(pair, "twice")
    assert len(seen(pair, "twice")) == 2


@pytest.fixture
def impatient(pair: Pair) -> Iterator[None]:
    """A broker that closes the channel over what is not acknowledged within a second."""
    _set_patience(pair, 1000, 300)
    pair.reset("beta")  # a channel reads this when it is opened
    yield
    _set_patience(pair, 1_800_000, 60_000)
    pair.reset("beta")


def _set_patience(pair: Pair, timeout: int, tick: int) -> None:
    """In milliseconds."""
    settings = {"consumer_timeout": timeout, "channel_tick_interval": tick}
    for name, value in settings.items():
        pair.broker.ctl("eval", f"rpc:multicall(application, set_env, [rabbit, {name}, {value}]).")


def test_a_channel_that_the_broker_closes_over_a_slow_handler_is_opened_again(pair: Pair, impatient: None) -> None:
    publish_events(pair, [envelope("overdue", "overdue", note="slow:3")])
    eventually(lambda: pair.beta.logged("delivery acknowledgement"), what="the broker closes the channel")
    eventually(lambda: pair.applied() == ["overdue"])
    publish_events(pair, [envelope("next", "next")])
    settled(pair, "overdue", "next")
    assert len(seen(pair, "overdue")) == 1


# -- bodies -------------------------------------------------------------------------------------------


def of_size(thing: str, size: int) -> Any:
    """An event with a body of so many bytes."""
    rest = size - len(envelope(thing, thing, note="").data)
    return envelope(thing, thing, note="x" * rest)


def test_a_body_at_the_limit_is_handled_and_one_byte_more_is_a_dead_letter(pair: Pair) -> None:
    publish_events(pair, [of_size("over", MAX_BODY + 1), of_size("at", MAX_BODY)])
    settled(pair, "at")
    (letter,) = the_dead(pair, 1)
    assert letter.message_id == "over" and letter.reason == f"unreadable: body of {MAX_BODY + 1} bytes"


def test_many_small_messages_and_a_large_one_among_them_all_arrive(pair: Pair) -> None:
    events = [envelope(f"small-{n}", f"small-{n}", n + 1) for n in range(300)]
    events.insert(150, of_size("large", MAX_BODY))
    publish_events(pair, events)
    settled(pair, *(event.subject for event in events))


def test_an_empty_body_is_a_dead_letter_at_once(pair: Pair) -> None:
    publish(pair, envelope("empty", "empty").headers(), b"", message_id="empty")
    publish_events(pair, [envelope("fine", "fine")])
    settled(pair, "fine")
    (letter,) = the_dead(pair, 1)
    assert letter.message_id == "empty" and letter.reason.startswith("unreadable") and not seen(pair, "empty")


def test_a_content_type_is_not_believed(pair: Pair, tmp_path: Path) -> None:
    """JSON is read whatever it is called, and nothing else is, least of all a pickle."""
    event = envelope("json", "json", note="中文")
    body = json.dumps(json.loads(event.data), ensure_ascii=False).encode()
    for n, (kind, encoding) in enumerate(
        [("text/plain", "utf-8"), ("x/y", "gzip"), ("", "binary"), ("中文", "latin-1")]
    ):
        headers = {**event.headers(), PREFIX + "id": f"json-{n}"}
        publish(pair, headers, body, content_type=kind, content_encoding=encoding)
    harm = tmp_path / "harm"
    pickled = pickle.dumps(Harm(harm))
    for kind in ("application/x-python-serialize", "application/json"):
        publish(pair, event.headers(), pickled, content_type=kind, content_encoding="binary")
    assert all("unreadable" in letter.reason for letter in the_dead(pair, 2))
    eventually(lambda: pair.applied() == ["json"] * 4)
    assert {one["note"] for one in seen(pair, "json")} == {"中文"}
    assert not harm.exists()


class Harm:
    """Whose pickle leaves a file where it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return open, (str(self.file), "w")


def test_a_version_of_an_event_that_is_not_ours_is_acknowledged_unhandled(pair: Pair) -> None:
    for n in (2, 99):
        event = envelope(f"v{n}", f"v{n}")
        publish(pair, {**event.headers(), PREFIX + "type": f"cn.sidan.thing.happened.v{n}"}, b'{"other": true}')
    publish_events(pair, [envelope("ours", "ours")])
    settled(pair, "ours")
    assert pair.depth(QUEUE + DEAD_SUFFIX) == 0 and not seen(pair, "v2")


# -- who gets what ------------------------------------------------------------------------------------


def test_a_subscriber_that_is_added_later_gets_each_event_from_then_on_and_so_do_the_others(pair: Pair) -> None:
    pair.add("before")
    settled(pair, "before")
    pair.start("gamma").wait_started()
    pair.add("after", "later")
    settled(pair, "before", "after", "later")
    notes = pair.database("gamma")["counters"]
    eventually(lambda: (row := notes.find_one({"_id": "counter"})) and len(row["applied"]) >= 2)
    assert notes.find_one({"_id": "counter"})["applied"] == ["after", "later"]


# -- a process that ends over a message ----------------------------------------------------------------


def test_a_message_that_ends_its_processes_is_set_aside_by_the_broker_and_can_be_put_back(
    world: World, sidan: Command
) -> None:
    """At its delivery limit; a queue with a lower one than ours is used as it is."""
    with channel_of(world) as channel:
        limited = {**dead_lettered(QUEUE), "x-delivery-limit": 2}
        channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments=limited)
    doomed = [world.start("beta", SIDAN_CRASH_AT="before_commit") for _ in range(3)]
    doomed[0].wait_started()
    publish_events(world, [envelope("deadly", "deadly")])
    for process in doomed:
        assert process.wait_exit() == -signal.SIGKILL
    (letter,) = the_dead(world, 1)
    assert letter.reason == "broker: delivery_limit" and letter.message_id == "deadly" and world.applied() == []
    world.start("beta").wait_started()
    assert sidan.json("dead", "retry", "--all") == {"retried": 1, "followed": 0}
    eventually(lambda: world.applied() == ["deadly"] and world.depth() == 0)
    assert world.depth(QUEUE + DEAD_SUFFIX) == 0
