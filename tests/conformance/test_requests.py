"""What a service promises to its callers, one behaviour a test."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import amqp
import pytest

from deploy.reference.rpc import Away, Refused
from gateway.rpc import RpcClient
from services.chassis.rpc import DIRECT_REPLY, MAX_BODY
from services.chassis.telemetry import Trace
from services.chassis.topology import RPC_EXCHANGE
from services.contracts.errors import Unavailable
from tests.conformance.conftest import Pair
from tests.support.processes import ACTOR, World, eventually
from tests.support.proxy import Proxy
from tests.support.wire import channel_of, request


def things(world: World) -> set[str]:
    return set(world.database("alpha")["things"].distinct("_id"))


def touched(world: World, id: str) -> int:
    thing = world.database("alpha")["things"].find_one({"_id": id})
    return int(thing["touched"]) if thing else 0


def begun(world: World, method: str, timeout: float = 6, **kwargs: Any) -> Callable[[], str]:
    """A call that is under way; the function waits for its end and tells it."""
    ended: list[str] = []

    def call() -> None:
        try:
            ended.append(str(world.call(method, timeout, **kwargs)))
        except (Away, Refused) as error:
            ended.append(str(error))

    caller = threading.Thread(target=call)
    caller.start()

    def end() -> str:
        caller.join()
        return ended[0]

    return end


def gateway_call(uri: str, method: str, deadline: float, **arguments: Any) -> Any:
    """As the gateway calls."""

    async def call() -> Any:
        client = RpcClient(uri)
        await client.start()
        try:
            await connected(client)
            return await client.call(method, {"actor": ACTOR, **arguments}, Trace("test"), deadline)
        finally:
            await client.stop()

    return asyncio.run(call())


async def connected(client: RpcClient) -> None:
    async with asyncio.timeout(10):
        while not client.connected:
            await asyncio.sleep(0.02)


def answer_to(world: World, body: bytes, method: str = "alpha.add", seconds: float = 5, **headers: Any) -> Any:
    """To a message as it stands; None when there is none within ``seconds``."""
    with channel_of(world) as channel:
        replies: list[Any] = []
        channel.basic_consume(DIRECT_REPLY, no_ack=True, callback=lambda m: replies.append(json.loads(m.body)))
        properties = {"reply_to": DIRECT_REPLY, "correlation_id": "1", "application_headers": headers}
        channel.basic_publish(amqp.Message(body, **properties), RPC_EXCHANGE, method)
        until = time.monotonic() + seconds
        while not replies and time.monotonic() < until:
            try:
                channel.connection.drain_events(timeout=0.1)
            except TimeoutError:
                continue
        return replies[0] if replies else None


def problem(world: World, body: bytes, method: str = "alpha.add", **headers: Any) -> str:
    return str(answer_to(world, body, method, **headers)["error"]["exc_type"])


def call_body(**kwargs: Any) -> bytes:
    return json.dumps({"args": [], "kwargs": kwargs}).encode()


# -- at most once -------------------------------------------------------------------------------------


def test_no_request_is_taken_before_it_can_be_answered(world: World) -> None:
    world.start("alpha").wait_started().stop()
    waiting = begun(world, "alpha.thing", timeout=60, id="none")  # while a process starts
    eventually(lambda: world.depth("rpc-alpha") == 1, what="the request waits")
    world.start("alpha", SAMPLE_LATE_PUBLISHER="1.5").wait_started()
    assert "没有" in waiting(), "it is answered"


def test_a_request_is_not_run_again_after_its_link_was_lost(pair: Pair) -> None:
    pair.add("once")
    with pair.alpha.held_at("before_commit") as wait_held:
        request(pair, "alpha.touch", command={"id": "once"})
        wait_held()
        pair.reset("alpha")
        eventually(lambda: pair.depth("rpc-alpha") == 0)
    eventually(lambda: touched(pair, "once") == 1)
    pair.call("alpha.touch", command={"id": "once"})
    assert touched(pair, "once") == 2


def test_a_request_is_not_run_again_after_its_process_has_died(world: World) -> None:
    alpha = world.start("alpha", SIDAN_CRASH_AT="before_commit").wait_started()
    request(world, "alpha.add", command={"id": "deadly"})
    alpha.wait_exit()
    world.start("alpha").wait_started()
    world.add("next")
    assert things(world) == {"next"} and world.depth("rpc-alpha") == 0


def test_a_request_whose_caller_has_given_up_while_it_waited_is_not_run(world: World) -> None:
    alpha = world.start("alpha", SIDAN_MAX_WORKERS="1").wait_started()
    with alpha.held_at("before_commit") as wait_held:
        first = begun(world, "alpha.add", command={"id": "first"})
        wait_held()
        late = call_body(actor=ACTOR, command={"id": "given-up"})
        # Its time runs from its arrival, which may be later than its sending, so who looks for an answer looks longer.
        assert answer_to(world, late, seconds=1.5, timeout="0.3") is None
    first()
    world.add("next")
    assert things(world) == {"first", "next"}


def test_a_request_of_the_gateway_that_no_process_takes_ends_in_the_queue_with_its_deadline(world: World) -> None:
    world.start("alpha").wait_started().stop()
    with pytest.raises(Unavailable):
        gateway_call(world.amqp_uri, "alpha.add", 0.3, command={"id": "given-up"})
    world.start("alpha").wait_started()
    world.add("next")
    assert things(world) == {"next"} and world.depth("rpc-alpha") == 0


def test_a_command_that_outlives_its_callers_deadline_changes_nothing(pair: Pair) -> None:
    began = time.monotonic()
    with pytest.raises(Away):
        pair.call("alpha.add", 0.5, command={"id": "outlived", "seconds": 1})
    assert time.monotonic() - began < 1
    eventually(lambda: pair.alpha.logged("database away"), what="its end")
    pair.add("next")
    assert "outlived" not in things(pair)


# -- idempotency keys ---------------------------------------------------------------------------------


def test_a_key_repeated_while_the_first_request_runs_gets_the_same_answer_and_the_effect_is_one(pair: Pair) -> None:
    pair.add("repeated")
    touch = {"command": {"id": "repeated"}, "idempotency": {"key": "k1", "fingerprint": "f"}}
    with pair.alpha.held_at("before_commit") as wait_held:
        calls = [begun(pair, "alpha.touch", **touch) for _ in range(2)]
        wait_held(2)
    assert [end() for end in calls] == ["{'touched': 1}"] * 2
    assert pair.call("alpha.touch", **touch) == {"touched": 1} and touched(pair, "repeated") == 1


def test_a_key_with_another_body_is_refused_also_while_the_first_request_runs(pair: Pair) -> None:
    pair.add("first", "second")
    with pair.alpha.held_at("before_commit") as wait_held:
        calls = [
            begun(pair, "alpha.touch", command={"id": id}, idempotency={"key": "k2", "fingerprint": id})
            for id in ("first", "second")
        ]
        wait_held(2)
    done, refused = sorted(end() for end in calls)[::-1]
    assert done == "{'touched': 1}" and refused.startswith("IdempotencyKeyReused")
    assert touched(pair, "first") + touched(pair, "second") == 1


def test_the_same_key_of_two_callers_is_two_keys(pair: Pair) -> None:
    pair.add("shared")
    key = {"key": "k3", "fingerprint": "f"}
    for name in ("one", "another"):
        actor = {**ACTOR, "id": name}
        assert answer_to(pair, call_body(actor=actor, command={"id": "shared"}, idempotency=key), "alpha.touch")
    assert touched(pair, "shared") == 2


# -- answers ------------------------------------------------------------------------------------------


BAD_BODIES = [
    b"",
    b"{}",
    b"not json",
    b"\xff\xfe",
    b"null",
    b"[" * 50_000,
    b'{"args": [], "kwargs": []}',
    b'{"args": [], "kwargs": {}}',
    b'{"args": [], "kwargs": {"actor": {"$ne": null}}}',
    b'{"args": [], "kwargs": {"service": 1}}',
]
BAD_ARGUMENTS: list[dict[str, Any]] = [
    {"service": 1},
    {"where": {"$gt": ""}},
    {"idempotency": "k"},
    {"idempotency": {"key": "k"}},
    {"idempotency": {"key": {"$gt": ""}, "fingerprint": "f"}},
    {"command": None},
    {"command": {"id": {"$gt": ""}}},
    {"command": {"id": "x", "unknown": 1}},
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: body[:40].decode(errors="replace") or "empty")
def test_a_wrong_body_is_answered_as_such(pair: Pair, body: bytes) -> None:
    assert problem(pair, body) in ("Malformed", "Invalid")


@pytest.mark.parametrize("timeout", ["soon", "nan", "-1", "inf", [1], {"a": 1}])
def test_a_wrong_deadline_does_no_harm(pair: Pair, timeout: Any) -> None:
    answer_to(pair, call_body(actor=ACTOR, id="none"), "alpha.thing", seconds=0.3, timeout=timeout)
    pair.add(f"after-{timeout}")


def test_an_unknown_method_is_answered_as_such(pair: Pair) -> None:
    for method in ("no_such_method", "__init__", "uow", ""):
        assert problem(pair, call_body(actor=ACTOR), f"alpha.{method}") == "NotFound"


@pytest.mark.parametrize("wrong", BAD_ARGUMENTS, ids=str)
def test_a_wrong_argument_is_answered_as_such_and_changes_nothing(pair: Pair, wrong: dict[str, Any]) -> None:
    body = call_body(**{"actor": ACTOR, "command": {"id": "x"}, **wrong})
    assert problem(pair, body) in ("Malformed", "Invalid") and things(pair) == set()


def test_a_wrong_target_of_a_query_is_answered_as_such(pair: Pair) -> None:
    for target in ({}, {"id": {"$gt": ""}}, {"id": "x", "where": "y"}):
        assert problem(pair, call_body(actor=ACTOR, **target), "alpha.thing") in ("Malformed", "Invalid")


def test_a_request_at_the_limit_is_read_and_one_byte_more_is_answered_as_too_large(pair: Pair) -> None:
    def error(size: int) -> str:
        command = {"id": "large", "refuse": True, "note": ""}
        command["note"] = "x" * (size - len(call_body(actor=ACTOR, command=command)))
        return str(answer_to(pair, call_body(actor=ACTOR, command=command))["error"]["value"])

    assert error(MAX_BODY) == "refused" and error(MAX_BODY + 1) == "请求过大"


def test_requests_without_an_address_are_run_or_dropped_and_end_no_process(pair: Pair) -> None:
    with channel_of(pair) as channel:
        channel.confirm_select()  # or a closing channel may take some with it
        for body in (*BAD_BODIES, call_body(actor=ACTOR, command={"id": "no-address"})):
            for method in ("alpha.add", "alpha.no_such_method", "alpha.health", "alpha."):
                channel.basic_publish_confirm(amqp.Message(body), RPC_EXCHANGE, method)
    eventually(lambda: "no-address" in things(pair))
    pair.add("still-there")


def test_an_answer_that_no_message_can_hold_is_an_error_of_that_request_alone(pair: Pair) -> None:
    with pytest.raises(Refused, match="ServiceError"):
        pair.call("alpha.unspeakable")
    pair.add("after")
    assert things(pair) == {"after"} and pair.alpha.alive


def test_an_answer_whose_caller_is_gone_is_dropped(pair: Pair) -> None:
    body = call_body(actor=ACTOR, command={"id": "gone"})
    with pair.alpha.held_at("before_commit") as wait_held, channel_of(pair) as channel:
        channel.basic_consume(DIRECT_REPLY, no_ack=True)
        channel.basic_publish(amqp.Message(body, reply_to=DIRECT_REPLY), RPC_EXCHANGE, "alpha.add")
        wait_held()
    eventually(lambda: "gone" in things(pair))
    answer_to(pair, call_body(actor=ACTOR, id="gone"), "alpha.thing")
    pair.add("next")


def test_a_caller_whose_answer_was_lost_with_the_link_asks_again_and_gets_it(pair: Pair) -> None:
    pair.add("lost")
    touch = {"command": {"id": "lost"}, "idempotency": {"key": "k4", "fingerprint": "f"}}
    with pair.alpha.held_at("after_commit") as wait_held:
        first = begun(pair, "alpha.touch", 1, **touch)
        wait_held()
        pair.links["alpha"].mode = "reset"
    assert "no answer" in first()
    pair.links["alpha"].mode = "pass"
    again = eventually(lambda: begun(pair, "alpha.touch", 1, **touch)() == "{'touched': 1}")
    assert again and touched(pair, "lost") == 1


def test_a_caller_waits_no_longer_than_its_deadline(pair: Pair) -> None:
    asked = time.monotonic()
    with pytest.raises(Unavailable):
        gateway_call(pair.amqp_uri, "alpha.slow", 0.5, seconds=2)
    assert time.monotonic() - asked < 1.5


def test_a_call_on_a_dead_link_ends_within_5_seconds_and_recovers(pair: Pair) -> None:
    pair.add("one")
    proxy, uri = Proxy.before(pair.amqp_uri)

    async def scenario() -> float:
        client = RpcClient(uri)
        await client.start()
        await connected(client)
        assert await thing(client) == {"touched": 0}
        proxy.mode = "blackhole"
        asked = time.monotonic()
        with pytest.raises(Unavailable):
            await thing(client)
        took = time.monotonic() - asked
        proxy.mode = "pass"
        async with asyncio.timeout(30):
            while not await answered(client):
                await asyncio.sleep(0.2)
        await client.stop()
        return took

    with proxy:
        assert asyncio.run(scenario()) < 5


async def thing(client: RpcClient) -> Any:
    return await client.call("alpha.thing", {"actor": ACTOR, "id": "one"}, Trace("test"))


async def answered(client: RpcClient) -> bool:
    try:
        return bool(await thing(client) == {"touched": 0})
    except Unavailable:
        return False
