"""``@every(seconds)``: a poke for work that is due in the database, from one replica at a time."""

from collections.abc import Callable
from typing import Any

import eventlet
from nameko.extensions import Entrypoint, register_entrypoint

from services.chassis import telemetry

log = telemetry.logger("timer")


def every(seconds: float) -> Callable[[Callable[[Any], int]], Any]:
    """Call the method every ``seconds``, and at once again while it returns work done.

    It may be called twice, late or not at all: what is due stands in the database.
    """

    def decorate(method: Callable[[Any], int]) -> Any:
        register_entrypoint(method, Poke(seconds))
        return method

    return decorate


class Poke(Entrypoint):  # type: ignore[misc]
    def __init__(self, seconds: float, **kwargs: Any) -> None:
        self.seconds = seconds
        super().__init__(**kwargs)

    def start(self) -> None:
        self.thread = eventlet.spawn(self._run)

    def stop(self) -> None:
        self.thread.kill()

    def _run(self) -> None:
        while True:
            eventlet.sleep(self.seconds)
            while self._poke():
                eventlet.sleep(0)

    def _poke(self) -> bool:
        done = eventlet.event.Event()

        def finished(_ctx: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
            if exc_info is not None:
                log.warning("timer failed", method=self.method_name, error=repr(exc_info[1]))
            done.send(bool(result) and exc_info is None)
            return None, None

        self.container.spawn_worker(self, (), {}, handle_result=finished)
        return bool(done.wait())
