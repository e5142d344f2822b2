"""What tells an outage from a message that fails by itself.

As NServiceBus' automatic rate limiting: after some failures in a row of different messages the dependency is
taken to be away, and no message is charged for that (docs/adr/0005).
"""

from pymongo.errors import BulkWriteError, ConnectionFailure, ExecutionTimeout, PyMongoError, WriteConcernError

from services.chassis import telemetry
from services.contracts.errors import Unavailable

FAILURES = 10
"""Transient failures in a row, each of another message, that make an outage."""
PAUSE = 1.0
"""Seconds before each attempt during an outage."""
TRANSIENT_LABELS = ("TransientTransactionError", "UnknownTransactionCommitResult", "RetryableWriteError")
"""MongoDB's own words for what may succeed when it is run again."""

log = telemetry.logger("outage")


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed later although nobody changes code or data."""
    return isinstance(error, Unavailable) or (isinstance(error, PyMongoError) and _is_of_the_server(error))


def _is_of_the_server(error: PyMongoError) -> bool:
    """ConnectionFailure covers timeouts of the network and servers that are no primary any more."""
    if isinstance(error, ConnectionFailure | ExecutionTimeout | WriteConcernError) or error.timeout:
        return True
    if isinstance(error, BulkWriteError) and error.details.get("writeConcernErrors"):
        return not error.details.get("writeErrors")
    return any(map(error.has_error_label, TRANSIENT_LABELS))


class Outage:
    """Of one queue in one process. While it is ``on``, the queue's messages are tried one at a time.

    Each try is of another message, so that one which always fails cannot prolong an outage that is over.
    """

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.on = False
        self.suspects: set[str] = set()
        """Messages that failed in an outage which another one's success has ended: handled by themselves, and
        charged if they fail again, whatever the error."""
        self._failed: set[str] = set()
        telemetry.OUTAGE.labels(queue).set(0)

    def begin(self, error: BaseException) -> None:
        if self.on:
            return
        self.on = True
        self.suspects = set()
        telemetry.OUTAGE.labels(self.queue).set(1)
        log.warning("outage begins, messages are kept in hand", queue=self.queue, error=repr(error))

    def succeeded(self, message_id: str) -> None:
        """The first success ends it."""
        if self.on:
            self.on = False
            self.suspects = self._failed.copy()
            telemetry.OUTAGE.labels(self.queue).set(0)
            log.warning("outage is over", queue=self.queue)
        self._failed.clear()
        self.suspects.discard(message_id)

    def failed(self, message_id: str, error: BaseException) -> bool:
        """Whether this failure costs the message an attempt."""
        if not is_transient(error):
            return True
        self._failed.add(message_id)
        at_once = isinstance(error, ConnectionFailure) and message_id not in self.suspects
        if at_once or len(self._failed) >= FAILURES:
            self.begin(error)
        return not self.on
