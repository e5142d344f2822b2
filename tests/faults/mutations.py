"""Protections of the chassis and the services, each with a way to switch it off in a process under test.

A scenario that stays green without the protection that it is about would prove nothing.
"""

import os
from collections.abc import Callable
from typing import Any

from deploy.topology import subscriptions
from services.chassis import outbox, rpc, subscriber, telemetry, topology, unit_of_work
from services.chassis.broker import Consumer, Link, Publisher
from services.contracts.dispatch import OrderCompleted
from services.points.domain import Account
from services.registry.notifications import Notification
from tests.faults.patching import patch

ELSEWHERE = ("accept-guard", "shedding", "hash-chain", "events-in-backup")
"""In the gateway (``gateway.py``), or in a tool that the scenario itself uses."""


def apply(without: str) -> None:
    """Raise ``KeyError`` for a name that nobody knows."""
    for name in filter(None, without.split(",")):
        if name not in ELSEWHERE:
            MUTATIONS[name]()


def no_outbox() -> None:
    """Events are published from memory after the commit, as stock nameko's dispatcher does."""
    write_of = unit_of_work._write_of

    def bare(id: str, tracked: Any, time: Any) -> Any:
        write = write_of(id, tracked, time)
        document: dict[str, Any] = write._doc
        document.pop("$push", None), document.pop("$min", None)
        document.pop(outbox.OUTBOX, None), document.pop(outbox.OUTBOX_SINCE, None)
        return write

    patch(outbox.Relay, "_mark", lambda self, all_of_it=False: self._sent.clear())
    announce = unit_of_work.Work._announce
    patch(unit_of_work, "_write_of", bare)
    patch(unit_of_work.Work, "_announce", lambda self, read=False: announce(self))


def no_inbox() -> None:
    """Every delivery is handled, duplicate or not."""

    def handle(self: Any, delivery: Any) -> None:
        envelope = delivery.envelope
        self.uow.sequence, self.uow.event_id, self.uow.event_time = envelope.sequence, envelope.id, envelope.time
        self.handler(self.service, delivery.event)

    patch(subscriber._Batch, "_handle", handle)
    patch(subscriber._Batch, "_handled", lambda _self, _batch: set())


def no_sms_ids() -> None:
    """Each attempt to send a short message is another one to its gateway."""
    patch(Notification, "sms_id", property(lambda _self: os.urandom(16).hex()))


def no_business_ids() -> None:
    """An award's id no longer follows from its source, so nothing tells that it is posted."""
    made = iter(range(10**9))
    post = Account._post

    def anew(self: Any, id: str, *arguments: Any, **more: Any) -> Any:
        return post(self, f"{id}:{os.getpid()}:{next(made)}", *arguments, **more)

    patch(Account, "_post", anew)


def no_compare_and_set() -> None:
    """The last writer wins."""
    write_of = unit_of_work._write_of

    def blind(id: str, tracked: Any, time: Any) -> Any:
        write = write_of(id, tracked, time)
        write._filter.pop("version", None) if hasattr(write, "_filter") else None
        return write

    patch(unit_of_work, "_write_of", blind)


def no_transaction() -> None:
    """Several documents are written one after the other."""
    patch(unit_of_work.Work, "_write_in_transaction", lambda self, writes: self._write(writes, None))


def no_idempotency() -> None:
    """A repeated request is a new one."""
    patch(rpc, "_idempotency", lambda _given, _actor: None)


def early_acknowledgement() -> None:
    """Messages are acknowledged when they are delivered, as a stock consumer without acks does."""
    begin = Consumer.__init__

    def eager(self: Any, queue: str, prefetch: int, receive: Callable[[Any], None], **more: Any) -> None:
        begin(self, queue, prefetch, receive, **{**more, "acknowledge": False})

    patch(Consumer, "__init__", eager)
    patch(Consumer, "settle", lambda *_arguments, **_more: None)


def no_confirms() -> None:
    """A publication counts as done when it is written to the socket."""

    def hopeful(self: Any, messages: Any, deadline: float = 0) -> list[bool]:
        if self._link.is_open:
            publish(self, messages, 0.01) if len(messages) == 0 else self._send(messages, _Nobody(len(messages)))
        return [True] * len(messages)

    publish = Publisher.publish
    patch(Publisher, "publish", hopeful)


class _Nobody:
    """A batch that nobody waits for."""

    def __init__(self, size: int) -> None:
        self.ids = [""] * size

    def settle(self, _position: int, _confirmed: bool) -> None:
        pass


def no_retries() -> None:
    """A failing message is acknowledged and gone, as with stock nameko."""
    patch(subscriber.Subscriber, "hand_over", lambda *_: None)


def no_guard_for_bodies() -> None:
    """Whatever is wrong with a message is an exception in the consumer."""

    def trusting(event: Any, delivery: Any) -> Any:
        envelope = subscriber.Envelope.parse(delivery.headers, delivery.body)
        return subscriber.replace(delivery, envelope=envelope, event=event.model_validate_json(delivery.body))

    patch(subscriber, "parse", trusting)


def no_guard_for_requests() -> None:
    """Whatever is wrong with a request ends its process, as with stock nameko."""

    def begin(self: Any, message: Any) -> None:
        if not message.properties.get("reply_to"):
            os._exit(1)
        guarded(self, message)

    guarded = rpc.RpcServer.begin
    patch(rpc.RpcServer, "begin", begin)


def no_allow_list() -> None:
    """Every header of a message is passed on, and kept."""
    patch(subscriber, "carried", lambda headers: dict(headers))


def no_drain() -> None:
    """A stop ends the process at once."""
    from deploy import service

    def abrupt(_container: Any) -> None:
        os._exit(0)

    patch(service, "drain", abrupt)


def no_deadline() -> None:
    """A publication waits for its confirm for ever."""
    publish = Publisher.publish
    patch(Publisher, "publish", lambda self, messages, deadline=0: publish(self, messages, 10**6))


def no_call_deadline() -> None:
    """A call may take as long as its caller waits; the gateway does so too (``gateway.py``)."""
    patch(rpc, "DEADLINE", 60.0)


def no_outage_mode() -> None:
    """A database that is away costs every message its attempts."""

    def charged(self: Any) -> Any:
        for delivery in self.batch:
            error = self._alone(delivery)
            last = delivery.attempt >= len(subscriber.settings().retry_delays)
            self.outcomes.append(error and subscriber.Failed(error, last))
        return self.outcomes

    patch(subscriber._Batch, "run", charged)


def no_reconnecting() -> None:
    """A link that is lost ends the process, as an acknowledgement on a dead one does with stock nameko."""
    drop = Link._drop

    def fatal(self: Any) -> None:
        if self.is_open and not self._stopping:
            os._exit(1)
        drop(self)

    patch(Link, "_drop", fatal)


def no_bounded_prefetch() -> None:
    """A subscriber takes all that its queue has."""
    begin = Consumer.__init__

    def greedy(self: Any, queue: str, _prefetch: int, *arguments: Any, **more: Any) -> None:
        begin(self, queue, 0, *arguments, **more)

    patch(Consumer, "__init__", greedy)


def no_tolerant_declaration() -> None:
    """A queue with other arguments stops everything that a process declares."""
    patch(topology, "_declare_queue", lambda channel, queue: queue(channel).declare())


def no_log_guard() -> None:
    """A log line waits until somebody takes it."""
    patch(
        telemetry.Sink, "write", lambda self, line: self._file.write(line if isinstance(line, bytes) else line.encode())
    )
    patch(telemetry.os, "set_blocking", lambda *_: None)


def no_settings_check() -> None:
    """A wrong setting is found out when it is used."""
    from deploy import service

    patch(service, "describe", str)


def no_tolerant_reader() -> None:
    """Events with more in them than is known are refused."""
    for subscription in subscriptions():
        subscription.event.model_config["extra"] = "forbid"
        subscription.event.model_rebuild(force=True)


def no_majority() -> None:
    """A write counts as done when the primary has it."""
    _connect_otherwise(w=1, journal=False, readConcernLevel="local")


def no_driver_retries() -> None:
    """What a change of the primary interrupts is not asked again by the driver."""
    _connect_otherwise(retryWrites=False, retryReads=False)


def no_transient_retries() -> None:
    """A unit of work that the database interrupts is an error of the request."""
    patch(unit_of_work, "TRANSIENT", "none of the driver's labels")


def _connect_otherwise(**other: Any) -> None:
    client = unit_of_work.MongoClient
    patch(unit_of_work, "MongoClient", lambda uri, **settings: client(uri, **{**settings, **other}))


def no_declaring_again() -> None:
    """Who is told that a queue is gone leaves it at that."""
    patch(Consumer, "_cancelled", lambda *_: None)


def no_late_facts() -> None:
    """A fact counts only when those before it have arrived."""
    from services.activities.service import ActivitiesService

    record = ActivitiesService._record

    def in_order(self: Any, event: Any) -> None:
        if isinstance(event, OrderCompleted):
            record(self, event)

    patch(ActivitiesService, "_record", in_order)


def no_permissions() -> None:
    """Everybody may read and do everything."""
    from services.dispatch import permissions

    patch(permissions, "may_read", lambda *_: True)
    patch(permissions, "permit", lambda *_: None)


def no_transitions() -> None:
    """Every command is allowed in every state."""
    from services.dispatch.domain import Order

    patch(Order, "_check", lambda _self, _command: None)


def no_timers() -> None:
    """Deadlines are forgotten by the clock."""
    from services.dispatch.repository import Orders

    patch(Orders, "due", lambda _self, _now, _limit: [])


def no_clock_of_the_server() -> None:
    """Leases are judged by the clock of the process."""
    from services.chassis import lease

    patch(lease.Lease, "renew", lambda self: True)
    patch(lease.Lease, "held", property(lambda _self: True))


MUTATIONS: dict[str, Callable[[], Any]] = {
    "outbox": no_outbox,
    "inbox": no_inbox,
    "business-ids": no_business_ids,
    "sms-ids": no_sms_ids,
    "compare-and-set": no_compare_and_set,
    "transaction": no_transaction,
    "idempotency-key": no_idempotency,
    "late-acknowledgement": early_acknowledgement,
    "confirms": no_confirms,
    "retries": no_retries,
    "body-guard": no_guard_for_bodies,
    "request-guard": no_guard_for_requests,
    "header-allow-list": no_allow_list,
    "drain": no_drain,
    "deadline": no_deadline,
    "call-deadline": no_call_deadline,
    "outage-mode": no_outage_mode,
    "reconnecting": no_reconnecting,
    "bounded-prefetch": no_bounded_prefetch,
    "tolerant-declaration": no_tolerant_declaration,
    "log-guard": no_log_guard,
    "settings-check": no_settings_check,
    "tolerant-reader": no_tolerant_reader,
    "majority": no_majority,
    "driver-retries": no_driver_retries,
    "transient-retries": no_transient_retries,
    "declaring-again": no_declaring_again,
    "late-facts": no_late_facts,
    "permissions": no_permissions,
    "transitions": no_transitions,
    "timers": no_timers,
    "lease": no_clock_of_the_server,
}
