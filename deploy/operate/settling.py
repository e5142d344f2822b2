"""Puts dead letters back or drops them, with what waits behind them, in order per aggregate.

A death half-way loses nothing: a letter is acknowledged when its copy is confirmed, and whatever was done can
be done again. While it works, all dead letters of the queue are held by this process's channel.
"""

import pickle
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from deploy.operate.audit import Operation
from deploy.operate.commands import PROGRESS, progress
from deploy.operate.copies import Copies, acknowledge, in_batches, refuse_while_moved
from deploy.operate.system import System
from services.chassis.crashpoints import crashpoint
from services.chassis.dead import DeadLetter, DeadLetters
from services.chassis.parking import dead_events, put_back, release
from services.chassis.topology import DEAD_SUFFIX, Subscription

MEMORY = 32 * 1024 * 1024
"""Bytes of messages that are kept in memory; more go to a temporary file."""
PASSES = 10
"""Looks for later events that died behind these while they were put back."""
PAUSE = 0.3  # seconds between two such looks


@dataclass(slots=True)
class Seen:
    """What is remembered of a dead letter; its content is kept apart, from ``position`` on."""

    subject: str
    sequence: int
    event_id: str
    id: str
    tag: int
    waits: bool
    chosen: bool
    position: int = -1


class Action:
    """What is done with the chosen letters."""

    NAME: ClassVar[str]
    SAID: ClassVar[str]


class Retry(Action):
    NAME, SAID = "retried", "put back"


class Drop(Action):
    NAME, SAID = "dropped", "dropped"


@dataclass
class Done:
    """Letters that were asked for, and those that went back since they waited behind them."""

    chosen: int = 0
    along: int = 0


class Settling:
    """Of one queue."""

    def __init__(
        self, system: System, connection: Any, subscription: Subscription, options: Any, action: type[Action]
    ) -> None:
        self.queue, self.options, self.action = subscription.queue, options, action
        self.database = system.database(subscription.service)
        self.connection, self.letters = connection, DeadLetters(connection, [subscription.queue])
        self.copies = Copies(connection)
        self.touched: set[str] = set()
        """Aggregates of which something was settled; what waits behind that follows."""
        self.done = Done()
        self.operation: Operation | None = None

    def run(self) -> Done:
        kept = self._pass()
        for _ in range(PASSES if self.touched else 0):
            if not dead_events(self.database, self.queue, self.touched) - kept:
                break
            time.sleep(PAUSE)  # a later event is on its way to the dead letters
            kept = self._pass()
        if self.operation:
            self.operation.end(followed=self.done.along)
        return self.done

    def _pass(self) -> set[str]:
        """The ids of events that stay dead."""
        channel = self.connection.channel()
        with tempfile.SpooledTemporaryFile(MEMORY) as content:
            seen = list(self._read(channel, content))
            along = list(_along(seen, self.touched))
            self._settle(channel, content, [each for each in seen if each.chosen], along)
        channel.close()  # the others return to the queue
        going = {each.tag for each in [*along, *(each for each in seen if each.chosen)]}
        return {each.event_id for each in seen if each.tag not in going}

    def _read(self, channel: Any, content: Any) -> Iterator[Seen]:
        for number, letter in enumerate(self.letters.take(channel, self.queue), start=1):
            if number % PROGRESS == 0:
                progress(f"{self.queue}: {number} dead letters read")
            seen = Seen(
                letter.subject, letter.sequence, letter.attribute("id"), letter.id, letter.tag, letter.waits,
                self._wanted(letter),
            )  # fmt: skip
            if seen.chosen or seen.waits:
                seen.position = content.tell()
                pickle.dump(letter, content)
            yield seen

    def _wanted(self, letter: DeadLetter) -> bool:
        asked = self.options
        if self.touched:
            return False  # a later look, for what follows
        return (not asked.id or letter.id in asked.id) and asked.group in (None, letter.group)

    def _settle(self, channel: Any, content: Any, chosen: list[Seen], along: list[Seen]) -> None:
        if not chosen and not along:
            return
        self._begin()
        dropped = chosen if self.action is Drop else []
        back = sorted(along + (chosen if self.action is Retry else []), key=lambda each: (each.subject, each.sequence))
        for each in back:
            if each.event_id:
                put_back(self.database, self.queue, each.subject, each.event_id)
        for each in dropped:
            release(self.database, self.queue, each.subject, each.event_id)
        self.touched |= {each.subject for each in [*back, *dropped] if each.subject}
        for batch in in_batches(iter(back)):
            self._put_back(channel, content, batch)
        for batch in in_batches(iter(dropped)):
            self._acknowledge(channel, batch)

    def _begin(self) -> None:
        if self.operation is None:
            refuse_while_moved(self.connection, self.queue)
            asked = {"ids_asked": self.options.id, "group": self.options.group}
            self.operation = Operation(self.database, self.action.NAME, self.queue, self.options, **asked)

    def _put_back(self, channel: Any, content: Any, batch: list[Seen]) -> None:
        letters: list[DeadLetter] = []
        for each in batch:
            content.seek(each.position)
            letters.append(pickle.load(content))
        self.copies.publish([letter.restored() for letter in letters])
        crashpoint("copied")
        self._acknowledge(channel, batch)

    def _acknowledge(self, channel: Any, batch: list[Seen]) -> None:
        """The audit comes first: after a death between it tells of a letter too many, never of one too few."""
        assert self.operation
        self.operation.add([each.id for each in batch if each.chosen])
        acknowledge(channel, self.queue + DEAD_SUFFIX, [each.tag for each in batch])
        self.done.chosen += sum(each.chosen for each in batch)
        self.done.along += sum(not each.chosen for each in batch)
        count = self.done.chosen + self.done.along
        if count // PROGRESS > (count - len(batch)) // PROGRESS:
            progress(f"{self.queue}: {count} settled")


def _along(seen: list[Seen], touched: set[str]) -> Iterator[Seen]:
    """What was not asked for, but only waits behind what was: no other failed event comes before it."""
    by_subject = defaultdict[str, list[Seen]](list)
    for each in seen:
        by_subject[each.subject].append(each)
    for subject, of_subject in by_subject.items():
        behind = subject in touched
        for each in sorted(of_subject, key=lambda each: each.sequence):
            if each.chosen:
                behind = True
            elif not each.waits:
                break
            elif behind:
                yield each
