"""Entry of the gateway's process: ``python -m gateway``."""

import sys

import uvicorn
from pydantic import ValidationError

from gateway.settings import settings

DRAIN_SECONDS = 4


def main() -> int:
    try:
        configuration = settings()
    except ValidationError as error:
        print(f"cannot start the gateway: {error}", file=sys.stderr)
        return 2
    uvicorn.run(
        "gateway.app:build",
        factory=True,
        host=configuration.http_host,
        port=configuration.http_port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level=configuration.log_level.lower(),
        timeout_graceful_shutdown=DRAIN_SECONDS,
        server_header=False,
        h11_max_incomplete_event_size=64 * 1024,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
