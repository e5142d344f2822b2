"""One account's requests to a running system, repeated until their outcome is known."""

import http.client
import json
import sys
import time
import uuid
from typing import Any
from urllib.parse import urlencode, urlsplit

from deploy.local.environment import data_dir

PATIENCE = 90.0
"""Seconds that one step may take, restarts of what it needs included."""
PAUSE = 0.3  # seconds


class Refused(Exception):
    """The system said no."""


class Client:
    """One account's requests."""

    def __init__(self, address: str, username: str) -> None:
        self._host = urlsplit(address).netloc
        self._username, self._token = username, ""

    def get(self, path: str) -> Any:
        return self._until_known("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._until_known("POST", path, body)

    def _until_known(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        key, until = str(uuid.uuid4()), time.monotonic() + PATIENCE
        while True:
            try:
                status, answer = self._once(method, path, body, key)
            except (OSError, http.client.HTTPException, ValueError):
                status, answer = 503, {}
            if status < 300:
                return answer
            if status == 401:
                self._token = ""
            elif status < 500:
                raise Refused(f"{method} {path}: {status} {answer.get('detail')}")
            if time.monotonic() > until:
                raise Refused(f"{method} {path}: no answer within {PATIENCE:g} s")
            time.sleep(PAUSE)

    def _once(self, method: str, path: str, body: dict[str, Any] | None, key: str) -> tuple[int, Any]:
        if not self._token:
            form = {"grant_type": "password", "username": self._username, "password": "demo"}
            status, answer = self._send(
                "POST", "/oauth/token", urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"}
            )
            if status != 200:
                return (status, answer) if status != 401 else (403, answer)
            self._token = answer["access_token"]
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        content = None
        if body is not None:
            headers["Idempotency-Key"] = key
            content = json.dumps(body)
        return self._send(method, path, content, headers)

    def _send(self, method: str, path: str, content: str | None, headers: dict[str, str]) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self._host, timeout=6)
        try:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


def running() -> dict[str, str]:
    """The addresses of the system that runs; exit when there is none."""
    path = data_dir() / "run" / "endpoints.json"
    if not path.exists():
        sys.exit(f"no system runs in {data_dir()} (SIDAN_DATA_DIR): start one with `make run` in another terminal")
    return dict(json.loads(path.read_text()))
