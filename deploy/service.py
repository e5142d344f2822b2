"""Entry of a service's process: ``python -m deploy.service dispatch``."""

import os
import sys
import warnings

os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")  # its own resolver costs 20 MB and clashes with pymongo's
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # structlog would load it: 4 MB for coloured tracebacks
warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")  # known, docs/adr/0001

import eventlet  # noqa: E402

eventlet.monkey_patch()

import signal  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

from nameko.containers import ServiceContainer  # noqa: E402
from pydantic import ValidationError  # noqa: E402

from deploy.topology import PUBLISHERS, service_class, subscriptions  # noqa: E402
from services.chassis.environment import describe  # noqa: E402
from services.chassis.keys import WrongKey  # noqa: E402
from services.chassis.memory import give_back_what_is_freed, keep_what_is_loaded  # noqa: E402
from services.chassis.settings import settings  # noqa: E402
from services.chassis.telemetry import configure_logging, logger  # noqa: E402

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(name: str) -> int:
    return run(service_class(name), container_config)


def run(service: Any, config: Callable[[], dict[str, Any]]) -> int:
    """Until the container stops or dies; a wrong setting or key is named and nothing is started."""
    try:
        configuration = settings()
    except ValidationError as error:
        print(f"cannot start {service.name}: {describe(error)}", file=sys.stderr)
        return 2
    give_back_what_is_freed()
    configure_logging(service.name, configuration.log_level)
    container = ServiceContainer(service, config())
    try:
        container.start()  # until here a signal ends the process at once: nothing runs that could be drained
    except WrongKey as error:
        print(f"cannot start {service.name}: {error}", file=sys.stderr)
        return 2
    on_signal(lambda: eventlet.spawn_n(drain, container))
    keep_what_is_loaded()
    logger().info("started", service=service.name, replica=configuration.replica)
    container.wait()
    return 0


def container_config() -> dict[str, Any]:
    return {
        "AMQP_URI": settings().amqp_uri,
        "max_workers": settings().max_workers,
        "publishers": PUBLISHERS,
        "subscriptions": subscriptions(),
    }


def on_signal(stop: Callable[[], None]) -> None:
    """The first counts; another would close what is being closed."""

    def first(_number: int, _frame: Any) -> None:
        for number in SIGNALS:
            signal.signal(number, lambda _number, _frame: None)
        stop()

    for number in SIGNALS:
        signal.signal(number, first)


def drain(container: ServiceContainer) -> None:
    """Let running handlers finish, but not for ever; the broker keeps what did not start."""
    logger().info("stopping")
    with eventlet.Timeout(settings().drain_seconds, False):
        container.stop()
        return
    logger().warning("drain took too long, running handlers are given up")
    container.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
