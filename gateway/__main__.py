"""Entry of the gateway's process: ``python -m gateway``."""

import sys

import uvicorn
from pydantic import ValidationError

from gateway.settings import settings
from services.chassis.environment import describe
from services.chassis.telemetry import configure_logging

DRAIN_SECONDS = 4
HEADERS = [
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "frame-ancestors 'none'; base-uri 'none'; object-src 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
]
"""Of every answer. Nothing says that another origin may read it."""


def main() -> int:
    try:
        configuration = settings()
    except ValidationError as error:
        print(f"cannot start the gateway: {describe(error)}", file=sys.stderr)
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
        headers=HEADERS,
        proxy_headers=bool(configuration.trusted_proxies),
        forwarded_allow_ips=configuration.trusted_proxies,
        h11_max_incomplete_event_size=64 * 1024,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
