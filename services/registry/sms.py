"""The port of short messages, and the one adapter: a gateway that takes JSON over HTTP."""

import base64
from typing import Protocol

from services.chassis.posting import Away, post
from services.chassis.settings import settings
from services.registry.notifications import LONGEST_WAIT

SIGNED_BY = "【文明实践】"
TOO_MANY, OVERLOADED = 429, 503
TRY_AGAIN = (401, 403, 407, 408, 425)
"""Also what a wrong secret is answered with: the messages are right, and wait until it is."""
PAUSE = 5.0  # seconds, where a gateway that has too much to do says no time


class Refused(Exception):
    """The gateway will never take this message."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(status)


class Unavailing(Exception):
    """The gateway is there, and wants none for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(seconds)


class SmsGateway(Protocol):
    def send(self, id: str, number: str, text: str) -> None:
        """Once, however often it is called with the same id. Raise ``Refused``, ``Unavailing``, ``Away``."""
        ...


class HttpGateway:
    """Posts ``{"id", "to", "text"}``; the gateway is to take an id once."""

    def __init__(self, url: str, secret: bytes) -> None:
        self._url, self._secret = url, secret

    def send(self, id: str, number: str, text: str) -> None:
        answer = post(self._url, self._secret, id, {"id": id, "to": number, "text": SIGNED_BY + text})
        if answer.status in (TOO_MANY, OVERLOADED):
            asked = min(answer.retry_after, LONGEST_WAIT).total_seconds()
            raise Unavailing(asked or PAUSE)
        if 400 <= answer.status < 500 and answer.status not in TRY_AGAIN:
            raise Refused(answer.status)
        if not 200 <= answer.status < 300:
            raise Away(f"status {answer.status}")


def gateway_of_settings() -> HttpGateway | None:
    """None: nobody is sent short messages."""
    url, secret = settings().sms_url, settings().sms_secret
    if url is None or secret is None:
        return None
    return HttpGateway(url, base64.urlsafe_b64decode(secret.get_secret_value()))
