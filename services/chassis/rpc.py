"""``@command`` and ``@query``: nameko's RPC protocol with validation, deadlines and bounded waits.

A stock nameko client can call them. Requests are consumed without acknowledgement: each is run at most
once, and a message that ends a process ends one only; a caller without an answer asks again with the same
idempotency key. A stop runs what has arrived before it ends.
"""

import inspect
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import eventlet
import orjson
import pymongo
from nameko.extensions import Entrypoint, SharedExtension, register_entrypoint
from pydantic import BaseModel, ValidationError

from services.chassis import telemetry
from services.chassis.broker import Consumer
from services.chassis.frames import Incoming, Outgoing
from services.chassis.outage import is_transient
from services.chassis.process import Broker, Storage
from services.chassis.settings import settings
from services.chassis.topology import RPC_EXCHANGE
from services.chassis.unit_of_work import Idempotency
from services.contracts.actor import Actor
from services.contracts.errors import Conflict, Invalid, Malformed, NotFound, ServiceError, Unavailable
from services.contracts.wording import invalid_fields

STOP_POLL = 0.02  # seconds
DEADLINE = 3.0
"""Seconds that a service gives itself for one call."""
MAX_BODY = 2 * 1024 * 1024  # bytes
MAX_TRACE_HEADER = 128  # characters
DIRECT_REPLY = "amq.rabbitmq.reply-to"
HEALTH = "health"
DECIDED = (NotFound, Conflict)
"""Errors that tell what was found in the database."""

log = telemetry.logger("rpc")
Method = Callable[..., Any]


def command(model: type[BaseModel] | None = None) -> Callable[[Method], Any]:
    """A use case that changes something: ``method(self, actor, command, **target)``, in a unit of work.

    It commits when the method returns; the result is the resource after it. With a client's idempotency
    key the first answer is kept in the same commit and given again.
    """

    def decorate(method: Method) -> Any:
        parameters = _parameters(method)

        @wraps(method)
        def run(service: Any, /, actor: Any = None, command: Any = None, idempotency: Any = None, **target: Any) -> Any:
            arguments = {"actor": _actor(actor), **_target(target, parameters)}
            if model is not None:
                arguments["command"] = _validated(model, command)
            key = _idempotency(idempotency, arguments["actor"])
            return service.uow.run(lambda: method(service, **arguments), _seconds_left(service), key)

        register_entrypoint(run, RpcMethod(expected_exceptions=ServiceError))
        return run

    return decorate


def query(method: Method) -> Any:
    """A question: ``method(self, actor, **target)``. Changes nothing; one that leaves a trace is a ``command``."""
    parameters = _parameters(method)

    @wraps(method)
    def run(service: Any, /, actor: Any = None, **target: Any) -> Any:
        with pymongo.timeout(_seconds_left(service)):
            return method(service, actor=_actor(actor), **_target(target, parameters))

    register_entrypoint(run, RpcMethod(expected_exceptions=ServiceError))
    return run


def _actor(given: Any) -> Actor:
    return given if isinstance(given, Actor) else _validated(Actor, given)


def _validated(model: type[BaseModel], given: Any) -> Any:
    try:
        return given if isinstance(given, model) else model.model_validate(given)
    except ValidationError as error:
        raise invalid_fields(error.errors()) from None


def _parameters(method: Method) -> dict[str, bool]:
    """The names that a caller may give as target, and whether each must be there."""
    parameters = inspect.signature(method).parameters.values()
    own = ("self", "actor", "command")
    return {p.name: p.default is p.empty for p in parameters if p.name not in own}


def _target(target: dict[str, Any], parameters: dict[str, bool]) -> dict[str, Any]:
    """Only plain values reach a query: never a mapping that the database could take for an operator."""
    wrong = target.keys() - parameters.keys() or {n for n, must in parameters.items() if must} - target.keys()
    if wrong:
        raise Malformed("参数不正确：" + "、".join(sorted(wrong)))
    for name, value in target.items():
        if not isinstance(value, str | int | float | bool | None):
            raise Invalid(f"{name} 的值不正确", fields=[{"path": name, "message": "必须是简单的值"}])
    return target


def _idempotency(given: Any, actor: Actor) -> Idempotency | None:
    match given:
        case None:
            return None
        case {"key": str(key), "fingerprint": str(fingerprint)}:
            return Idempotency(f"{actor.id}:{key}", fingerprint)
    raise Malformed()


def _seconds_left(service: Any) -> float:
    until: float = service.uow.until
    return max(0.05, min(DEADLINE, until - time.monotonic()))


@dataclass(slots=True, frozen=True)
class Request:
    """A call as it came in; ``until`` is when its caller stops waiting, by the monotonic clock.

    Callers tell how long they wait, and not until when: their clock may be another one.
    """

    method: str
    kwargs: dict[str, Any]
    reply_to: str
    correlation_id: str
    until: float
    trace: telemetry.Trace


class RpcServer(SharedExtension):  # type: ignore[misc]
    """The request queue of a service, shared by its methods. Answers ``health`` by itself.

    While the database is away calls are refused at once, instead of holding a worker for its absence each.
    """

    broker = Broker()
    storage = Storage()

    def __init__(self) -> None:
        self.methods: dict[str, RpcMethod] = {}

    def setup(self) -> None:
        self.waiting: deque[Incoming] = deque()
        self.running = 0
        self.stopping = False
        queue = f"rpc-{self.container.service_name}"
        self.consumer = Consumer(queue, 2 * settings().max_workers, self.receive, acknowledge=False)
        self.broker.wanted.append(self.consumer)

    def stop_taking(self) -> None:
        """No new requests; those that have arrived are run, since nobody else has them."""
        if self.stopping:
            return
        self.stopping = True
        self.consumer.cancel()
        while self.waiting:
            eventlet.sleep(STOP_POLL)

    def receive(self, message: Incoming) -> None:
        message.arrived = time.monotonic()  # its caller's time runs while it waits here
        self.waiting.append(message)
        self.work()

    def work(self) -> None:
        while self.waiting and self.running < settings().max_workers:
            self.begin(self.waiting.popleft())

    def begin(self, message: Incoming) -> None:
        """Nothing in a message may raise from here: that would end the reader of the link."""
        reply_to, correlation_id = _address(message)
        try:
            request = parse(message)
            if request.until < time.monotonic():
                return  # nobody waits for it any more
            if request.method == HEALTH:
                return self.answer(reply_to, correlation_id, {"service": self.container.service_name})
            self.run(request)
        except ServiceError as error:
            self.answer(reply_to, correlation_id, None, error)
        except Exception as error:
            log.error("bad request message", error=type(error).__name__)
            self.answer(reply_to, correlation_id, None, Malformed())

    def run(self, request: Request) -> None:
        entrypoint = self.methods.get(request.method)
        if entrypoint is None:
            raise NotFound(f"没有这个方法：{request.method}")
        if not self.storage.breaker.allow():
            raise Unavailable()
        self.running += 1
        started = time.monotonic()

        def finished(_ctx: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
            self.running -= 1
            error = None if exc_info is None else as_service_error(exc_info[1])
            self.tell_breaker(exc_info and exc_info[1])
            outcome = "ok" if error is None else error.slug
            label = f"{self.container.service_name}.{request.method}"
            telemetry.HANDLED.labels(label, outcome).inc()
            telemetry.SECONDS.labels(label).observe(time.monotonic() - started)
            self.answer(request.reply_to, request.correlation_id, result, error)
            eventlet.spawn_after(0, self.work)
            return None, None

        context = {"trace": request.trace, "until": request.until}
        self.container.spawn_worker(entrypoint, (), request.kwargs, context, handle_result=finished)

    def tell_breaker(self, error: Exception | None) -> None:
        """Other errors say nothing of the database: it may not have been asked."""
        if error is None or isinstance(error, DECIDED):
            self.storage.breaker.succeeded()
        elif not isinstance(error, ServiceError) and is_transient(error):
            self.storage.breaker.failed()

    def answer(self, reply_to: str, correlation_id: str, result: Any, error: ServiceError | None = None) -> None:
        if not reply_to:
            return
        try:
            body = _reply(result, error)
        except TypeError as wrong:  # raised from here it would end the process, with all that it has in hand
            body = _reply(None, as_service_error(wrong))
        exchange = "" if reply_to.startswith(DIRECT_REPLY) else RPC_EXCHANGE
        reply = Outgoing(exchange, reply_to, body, properties={"correlation_id": correlation_id}, mandatory=False)
        self.broker.publisher.reply(reply)


class RpcMethod(Entrypoint):  # type: ignore[misc]
    server = RpcServer()

    def setup(self) -> None:
        self.server.methods[self.method_name] = self

    def stop(self) -> None:
        self.server.stop_taking()


def _address(message: Incoming) -> tuple[str, str]:
    properties = message.properties
    return properties.get("reply_to") or "", properties.get("correlation_id") or ""


def parse(message: Incoming) -> Request:
    """Raise ``Malformed``."""
    body, headers = message.body, message.headers
    if len(body) > MAX_BODY:
        raise Malformed("请求过大")
    try:
        kwargs = orjson.loads(body)["kwargs"]
        until = message.arrived + float(headers.get("timeout") or DEADLINE)
    except (ValueError, TypeError, KeyError):
        raise Malformed() from None
    if not isinstance(kwargs, dict):
        raise Malformed()
    method = message.routing_key.rpartition(".")[2]
    trace = telemetry.Trace(_text(headers, "correlationid"), "", _text(headers, "traceparent"))
    return Request(method, kwargs, *_address(message), until, trace)


def _reply(result: Any, error: ServiceError | None) -> bytes:
    """Raise ``TypeError`` for what is no JSON."""
    return orjson.dumps({"result": result, "error": None if error is None else serialized(error)})


def _text(headers: dict[str, Any], name: str) -> str:
    value = headers.get(name)
    return value[:MAX_TRACE_HEADER] if isinstance(value, str) else ""


def as_service_error(error: Exception) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    if is_transient(error):
        log.warning("database away", error=type(error).__name__)
        return Unavailable()
    log.error("handler failed", error=type(error).__name__, exc_info=error)
    return ServiceError()


def serialized(error: ServiceError) -> dict[str, Any]:
    """nameko's form, and the problem document beside it."""
    return {
        "exc_type": type(error).__name__,
        "exc_path": f"{type(error).__module__}.{type(error).__name__}",
        "exc_args": [error.detail],
        "value": error.detail,
        "problem": error.problem(),
    }
