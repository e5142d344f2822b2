"""Structured logs with correlation id, trace context and masked personal data; metrics; the health page."""

import contextvars
import io
import logging
import os
import stat
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from prometheus_client import Counter, Gauge, Histogram
from pydantic import ValidationError

from services.contracts.privacy import mask

HANDLED = Counter("sidan_handled_total", "Messages handled", ["entrypoint", "outcome"])
SECONDS = Histogram(
    "sidan_handler_seconds",
    "Time in handlers",
    ["entrypoint"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 3, 10),
)
DUPLICATES = Counter("sidan_inbox_hits_total", "Duplicates that the inbox absorbed", ["entrypoint"])
CONFLICTS = Counter("sidan_write_conflicts_total", "Units of work run again after a conflict")
PUBLISHED = Counter("sidan_outbox_published_total", "Events published and confirmed")
OUTBOX_AGE = Gauge("sidan_outbox_oldest_seconds", "Age of the oldest unsent event")
RETRIED = Counter("sidan_retries_total", "Messages copied to a retry level", ["queue"])
DEAD = Counter("sidan_dead_letters_total", "Messages given up", ["queue"])
PARKED = Gauge("sidan_parked_aggregates", "Aggregates whose later events wait behind a failing one")
PARKED_BEHIND_DEAD = Gauge("sidan_parked_behind_dead", "Those of them where the failing one is a dead letter")
BROKER_LINK = Gauge("sidan_broker_link", "1 while the link for publishing is open")
BROKER_BLOCKED = Gauge("sidan_broker_blocked", "1 while the broker says that it takes nothing: an alarm")
OUTAGE = Gauge("sidan_outage", "1 while a queue waits for a dependency to come back", ["queue"])
IN_HAND = Gauge("sidan_in_hand", "Messages taken from a queue that wait for their turn", ["queue"])
PAUSED = Gauge("sidan_queue_paused", "1 while an operator has stopped the handler of a queue", ["queue"])
BREAKER = Gauge("sidan_breaker_open", "1 while calls to a dependency are refused at once", ["dependency"])
LEASE_HELD = Gauge("sidan_lease_held", "1 while this replica is the one that publishes and escalates")
LEASE_AGE = Gauge("sidan_lease_age_seconds", "Time since the lease was last renewed or seen renewed")
DUE_OLDEST = Gauge("sidan_due_oldest_seconds", "How long the oldest due order has waited for its move")
SMS = Counter("sidan_sms_total", "Short messages that are done with, one way or another", ["outcome"])
SMS_WAITING = Gauge("sidan_sms_waiting", "Short messages that wait to be sent")
SMS_OLDEST = Gauge("sidan_sms_oldest_seconds", "How long the oldest due short message has waited for its turn")
CLOCK_OFFSET = Gauge("sidan_clock_offset_seconds", "How far the database's clock is ahead of this process's own")
UNDER_WAY = Gauge("sidan_requests_under_way", "Requests that the gateway has taken on and not answered")
REFUSED = Counter("sidan_requests_refused_total", "Requests refused before their work began", ["reason"])
DROPPED = Counter("sidan_log_lines_dropped_total", "Log lines that nobody took")
LOOP_LAG = Gauge("sidan_loop_lag_seconds", "Largest delay of the event loop in the last second")


@dataclass(slots=True, frozen=True)
class Trace:
    """What travels with a request through every hop. Nothing private."""

    correlation_id: str = ""
    causation_id: str = ""
    traceparent: str = ""

    def child(self) -> str:
        """A traceparent for the next hop: same trace, new span (W3C Trace Context)."""
        parts = self.traceparent.split("-")
        trace_id = parts[1] if len(parts) == 4 and len(parts[1]) == 32 else os.urandom(16).hex()
        return f"00-{trace_id}-{os.urandom(8).hex()}-01"


_trace: contextvars.ContextVar[Trace] = contextvars.ContextVar("trace", default=Trace())  # noqa: B039 – it is frozen


def current_trace() -> Trace:
    return _trace.get()


def enter(trace: Trace) -> None:
    """Everything that this greenthread logs and publishes from here on belongs to ``trace``."""
    _trace.set(trace)


def _context(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    trace = current_trace()
    if trace.correlation_id:
        event["correlation_id"] = trace.correlation_id
    if trace.traceparent:
        event["traceparent"] = trace.traceparent
    return event


def masked(value: Any) -> Any:
    """With personal data hidden in every text inside."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {mask(str(key)): masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [masked(item) for item in value]
    return value


def _mask(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: masked(value) for key, value in event.items()}


def stack(error: BaseException) -> str:
    """Where an error was raised, and those before it, without what they say: that may be anybody's data."""
    return "".join(_frames(error))


def _frames(error: BaseException) -> Iterator[str]:
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _frames(before)
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__module__}.{type(error).__qualname__}\n"


def told(error: BaseException) -> str:
    """What an error says; of a wrong document or message which fields are wrong, and not what stands there."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['type']}" for e in error.errors(include_input=False))


def _exception(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exception()
    if isinstance(error, BaseException):
        event["exception"] = stack(error)
    return event


def _default(value: Any) -> str:
    return mask(repr(value))


def _rendered(line: dict[str, Any], **_: Any) -> bytes:
    """Whatever is logged: what JSON cannot hold is told as text, for a log line must never raise."""
    try:
        return orjson.dumps(line, default=_default, option=orjson.OPT_PASSTHROUGH_DATACLASS)
    except TypeError:
        return orjson.dumps({key: mask(repr(value)) for key, value in line.items()})


class _MaskingFormatter(logging.Formatter):
    """Log lines of libraries, in the same shape."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "level": record.levelname.lower(),
            "service": self.service,
            "logger": record.name,
            "event": mask(record.getMessage()),
        }
        if record.exc_info and record.exc_info[1]:
            line["exception"] = stack(record.exc_info[1])
        return _rendered(line).decode()


class Sink:
    """Standard output, for whole lines. Work goes on where nobody reads them, or their disk is full."""

    def __init__(self, descriptor: int) -> None:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.set_blocking(descriptor, False)
        # Not through ``os.write``, which eventlet would let wait.
        self._file = io.FileIO(descriptor, "wb", closefd=False)

    def write(self, line: bytes | str) -> int:
        content = line.encode(errors="replace") if isinstance(line, str) else line
        try:
            written = self._file.write(content)
        except OSError:
            written = None
        if written is None or written < len(content):
            DROPPED.inc()
        return len(line)

    def flush(self) -> None:
        """Nothing is held back."""


def configure_logging(service: str, level: str = "INFO") -> None:
    sink = Sink(sys.stdout.fileno())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            _context,
            _exception,
            _mask,
            structlog.processors.JSONRenderer(serializer=_rendered),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.BytesLoggerFactory(file=sink),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sink)
    handler.setFormatter(_MaskingFormatter(service))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # nameko logs every failed worker with its stack, also those that we answer or retry ourselves.
    logging.getLogger("nameko.containers").setLevel(logging.CRITICAL)


def logger(module: str = "") -> Any:
    return structlog.get_logger(module=module) if module else structlog.get_logger()
