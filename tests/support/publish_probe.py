"""Publishes one message per line of its input and says how long that took and whether it was confirmed."""

import eventlet

eventlet.monkey_patch()

import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

from services.chassis.broker import Outgoing, Publisher  # noqa: E402


def main(uri: str) -> None:
    publisher = Publisher(uri, lambda _connection: None)
    publisher.start()
    assert publisher.wait_open()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        started = time.monotonic()
        confirmed = publisher.publish([Outgoing("", line.strip(), b"{}", id="1")])
        print(json.dumps({"seconds": time.monotonic() - started, "confirmed": confirmed[0]}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
