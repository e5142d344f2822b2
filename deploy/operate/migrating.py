"""Gives a queue other arguments, which the broker cannot change: by a new queue of the same name.

While the handler is paused, new events arrive in ``<queue>.arriving`` and old messages wait in ``<queue>.held``.
The queue is deleted when it is empty and no retry level can bring a message back, then declared anew and filled
again. Every step is told by what queues there are, so a run that was killed is gone on with by the next.
"""

import time
from collections.abc import Callable
from typing import Any

import amqp

from deploy.operate.audit import Operation, operator
from deploy.operate.commands import PROGRESS, Refused, progress
from deploy.operate.copies import ARRIVING, HELD, Copies, count, same, take
from deploy.operate.system import System
from services.chassis import pauses
from services.chassis.crashpoints import crashpoint
from services.chassis.messages import Envelope
from services.chassis.parking import Parking
from services.chassis.topology import Subscription, dead_lettered, quorum, retry_queue

SETTLED = 2.0
"""Seconds in which what was routed a moment ago has arrived."""
RETURNING = 5.0
"""Seconds, beyond the longest retry delay, until nothing comes back from a retry level."""
ATTEMPTS = 3
POLL = 0.2  # seconds
PAUSE_WAIT = 60.0  # seconds


class Migration:
    def __init__(self, system: System, connection: Any, subscription: Subscription, options: Any) -> None:
        self.system, self.connection, self.options = system, connection, options
        self.queue, self.event = subscription.queue, subscription.event
        self.held, self.arriving = self.queue + HELD, self.queue + ARRIVING
        self.database = system.database(subscription.service)
        self.copies = Copies(connection)
        self.parking = Parking(self.database, 0)
        self.moved = 0

    def run(self) -> int:
        """How many messages were kept. Raise ``Refused``."""
        self._alone()
        if not self._begun() and difference(self.connection, self.queue, dead_lettered(self.queue)) is None:
            raise Refused(f"{self.queue} is as the code declares it; there is nothing to migrate.")
        mine = self._pause()
        operation = Operation(self.database, "migrated", self.queue, self.options)
        for _ in range(ATTEMPTS):
            if difference(self.connection, self.queue, dead_lettered(self.queue)):
                self._take_apart()
            if self._declare(self.queue, dead_lettered(self.queue)):
                break
        else:
            raise Refused(f"{self.queue} is declared in the old way again and again: stop services of older versions.")
        self._put_together()
        operation.end(count=self.moved)
        if mine:
            pauses.resume(self.database, self.queue)
        return self.moved

    def _alone(self) -> None:
        """By a queue that is this connection's own and ends with it."""
        try:
            self.connection.channel().queue_declare(self.queue + ".lock", exclusive=True)
        except amqp.exceptions.ResourceLocked:
            raise Refused(f"{self.queue} is being moved by another command: wait until that is done.") from None

    def _begun(self) -> bool:
        return bool(count(self.connection, self.held) or count(self.connection, self.arriving))

    def _pause(self) -> bool:
        """Whether the pause is this command's own, or of one that was killed."""
        reason = f"migrates: sidan queues migrate {self.queue}"
        pauses.pause(self.database, self.queue, operator(self.options), reason)
        until = time.monotonic() + PAUSE_WAIT
        while (found := count(self.connection, self.queue)) and found[1]:
            if time.monotonic() > until:
                raise Refused(
                    f"{found[1]} processes still take messages of {self.queue}: look at them, then run again."
                )
            time.sleep(POLL)
        row = self.database[pauses.PAUSED].find_one({"_id": self.queue})
        return row is not None and row["reason"] == reason

    def _take_apart(self) -> None:
        """Empty the queue and delete it."""
        self._declare(self.held, quorum())
        self._declare(self.arriving, quorum())
        self._bind(self.arriving)
        self._unbind(self.queue)
        crashpoint("unbound")
        until = time.monotonic() + max(self.system.delays) + RETURNING
        quiet = time.monotonic()
        while time.monotonic() < min(until, quiet + SETTLED):
            if self._move(self.queue, self.held) or any(map(self._is_filled, self.system.delays)):
                quiet = time.monotonic()
            time.sleep(POLL)
        crashpoint("emptied")
        self._delete(self.queue)
        crashpoint("deleted")

    def _is_filled(self, delay: float) -> bool:
        """Of other handlers too; what is of this one has returned when the longest delay is over."""
        found = count(self.connection, retry_queue(delay))
        return bool(found and found[0])

    def _put_together(self) -> None:
        """What waits in the queue's place comes back: the old, then what arrived."""
        self._bring_held_back()
        self._bind(self.queue)
        crashpoint("bound")
        if count(self.connection, self.arriving):
            self._unbind(self.arriving)
            quiet = time.monotonic()
            while time.monotonic() < quiet + SETTLED:
                moved = self._move(self.arriving, self.queue, self._let_come_first)
                self.moved += moved
                quiet = time.monotonic() if moved else quiet
                time.sleep(POLL)
        for name in (self.held, self.arriving):
            self._delete(name)

    def _bring_held_back(self) -> None:
        events, moved = list[Envelope](), 0
        while (found := count(self.connection, self.held)) and found[0]:
            moved += self._move(self.held, self.queue, events.append)
        self.moved += moved
        found = count(self.connection, self.queue)
        if found and found[0] != moved:  # a service that came up meanwhile has bound the queue
            for event in events:
                self._let_come_first(event)

    def _let_come_first(self, event: Envelope) -> None:
        """Later events of its aggregate may stand before it in the queue: they wait for it, by a row."""
        self.parking.enter(self.queue, event.subject, event.id, event.sequence, level=0, dead=False)

    def _move(self, source: str, target: str, before: Callable[[Envelope], None] = lambda _event: None) -> int:
        """All that is ready, in order; the number. ``before`` gets each event first."""
        moved = 0
        for batch in take(self.connection, source):
            for event in map(_event, batch):
                if event is not None:
                    before(event)
            self.copies.publish([same(message, target) for message in batch])
            crashpoint("moved")
            batch[-1].channel.basic_ack(batch[-1].delivery_tag, multiple=True)
            moved += len(batch)
            if moved % PROGRESS < len(batch):
                progress(f"{moved} messages moved to {target}")
        return moved

    def _delete(self, queue: str) -> None:
        """One that was found empty; quorum queues know no ``if_empty``."""
        found = count(self.connection, queue)
        if found is None:
            return
        if found[0]:
            raise Refused(f"{queue} does not get empty: somebody fills it. Nothing is lost; run the command again.")
        channel = self.connection.channel()
        channel.queue_delete(queue)
        channel.close()

    def _declare(self, queue: str, arguments: dict[str, Any]) -> bool:
        channel = self.connection.channel()
        try:
            channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)
        except amqp.exceptions.PreconditionFailed:
            return False
        channel.close()
        return True

    def _bind(self, queue: str) -> None:
        channel = self.connection.channel()
        channel.queue_bind(queue, self.event.exchange(), f"{self.event.fact}.#")
        channel.close()

    def _unbind(self, queue: str) -> None:
        channel = self.connection.channel()
        channel.queue_unbind(queue, self.event.exchange(), f"{self.event.fact}.#")
        channel.close()


def _event(message: Any) -> Envelope | None:
    """None: the handler will reject it."""
    try:
        return Envelope.parse(message.headers or {}, b"")
    except (ValueError, TypeError):
        return None


def difference(connection: Any, queue: str, arguments: dict[str, Any]) -> str | None:
    """How an existing queue differs from what is declared; None when it does not, or there is none."""
    if count(connection, queue) is None:
        return None
    channel = connection.channel()
    try:
        channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)
    except amqp.exceptions.PreconditionFailed as error:
        return str(error.reply_text)
    channel.close()
    return None
