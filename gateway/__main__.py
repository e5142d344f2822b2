"""Entry of the gateway's process: ``python -m gateway``."""

import sys

import uvicorn
from pydantic import ValidationError

from gateway.settings import settings
from services.chassis.telemetry import configure_logging

DRAIN_SECONDS = 4


def main() -> int:
    try:
        configuration = settings()
    except ValidationError as error:
        print(f"cannot start the gateway: {error}", file=sys.stderr)
        return 2
    configure_logging("gateway", configuration.log_level)
    uvicorn.run(
        "gateway.app:build",
        factory=True,
        host=configuration.http_host,
        port=configuration.http_port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        server_header=False,
        h11_max_incomplete_event_size=64 * 1024,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
