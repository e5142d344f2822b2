"""Run a sample service as a process: ``python -m tests.support.run alpha``."""

import eventlet

eventlet.monkey_patch()

import os  # noqa: E402
import sys  # noqa: E402
import warnings  # noqa: E402

warnings.filterwarnings("ignore", category=DeprecationWarning)

from tests.support import holds  # noqa: E402

holds.install()

from deploy import service  # noqa: E402
from services.chassis.broker import Publisher  # noqa: E402
from services.chassis.settings import settings  # noqa: E402
from tests.support.sample import AlphaService, BetaService, GammaService  # noqa: E402
from tests.support.topology import LATER, PUBLISHERS, SUBSCRIPTIONS  # noqa: E402

SAMPLES = {"alpha": AlphaService, "beta": BetaService, "gamma": GammaService}


def open_publisher_late(seconds: float) -> None:
    """The link for answers is there so long after the link for requests."""
    opened = Publisher._opened

    def late(self: Publisher, connection: object) -> None:
        eventlet.sleep(seconds)
        opened(self, connection)

    Publisher._opened = late  # type: ignore[method-assign]


def config() -> dict[str, object]:
    return {
        "AMQP_URI": settings().amqp_uri,
        "max_workers": settings().max_workers,
        "publishers": PUBLISHERS,
        "subscriptions": [*SUBSCRIPTIONS, LATER] if sys.argv[1] == "gamma" else SUBSCRIPTIONS,
    }


if __name__ == "__main__":
    open_publisher_late(float(os.environ.get("SAMPLE_LATE_PUBLISHER", 0)))
    sys.exit(service.run(SAMPLES[sys.argv[1]], config))
