"""MongoDB's own failpoints, for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient


@contextmanager
def failing(client: MongoClient[Any], commands: list[str], mode: Any, **data: Any) -> Iterator[None]:
    """``mode`` as the server has it: ``{"times": 3}``, ``{"activationProbability": 0.1}``, ``"alwaysOn"``.

    ``data`` says how they fail: ``errorCode``, ``closeConnection``, ``writeConcernError`` …; ``appName`` whose
    they are.
    """
    point = {"failCommands": commands, **data}
    client.admin.command("configureFailPoint", "failCommand", mode=mode, data=point)
    try:
        yield
    finally:
        client.admin.command("configureFailPoint", "failCommand", mode="off")
