"""The broker's HTTP API, where it can be reached: the local runtime tells where, or ``SIDAN_MANAGEMENT_URL``."""

import base64
import json
import os
import urllib.request
from typing import Any
from urllib.parse import quote

from kombu import Connection

from deploy.operate.system import WAIT, System, endpoints


class Management:
    """With the name and password of the broker's address. Methods raise ``OSError``."""

    def __init__(self, url: str, amqp_uri: str) -> None:
        place = Connection(amqp_uri)
        self._url = url.rstrip("/")
        self.user, self.vhost = place.userid or "guest", place.virtual_host or "/"
        secret = base64.b64encode(f"{self.user}:{place.password or 'guest'}".encode()).decode()
        self._headers = {"Authorization": f"Basic {secret}"}
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, *path: str) -> Any:
        """The answer to ``/api/<path>``, each part quoted."""
        url = "/".join([self._url, "api", *(quote(part, safe="") for part in path)])
        with self._opener.open(urllib.request.Request(url, headers=self._headers), timeout=WAIT) as answer:
            return json.load(answer)

    def of_vhost(self, kind: str) -> list[dict[str, Any]]:
        """All queues, exchanges, bindings, policies of the vhost."""
        return list(self.get(kind, self.vhost))


def management(system: System) -> Management | None:
    """None where it does not answer."""
    url = os.environ.get("SIDAN_MANAGEMENT_URL")
    if url is None and "AMQP_URI" not in os.environ:
        url = endpoints().get("management")
    if not url:
        return None
    found = Management(url, system.amqp_uri)
    try:
        found.get("whoami")
    except OSError:
        return None
    return found
