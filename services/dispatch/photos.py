"""Photos of orders, and the port that they are kept behind."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.contracts.privacy import Secret
from services.dispatch.domain import Side


@dataclass
class Photo:
    id: str
    order_id: str
    by: Side
    at: datetime
    width: int
    height: int
    size: int
    """Bytes of the picture."""
    data: Secret | None = None
    """A JPEG as base64; None in a list."""
    version: int = 0


class PhotoStore(Protocol):
    """Where photos are kept. What is added is there when the unit of work has been committed, and not before."""

    def add(self, photo: Photo) -> None: ...

    def get(self, id: str) -> Photo:
        """Raise ``NotFound``."""
        ...

    def listed(self, ids: Iterable[str]) -> list[Photo]:
        """Without the pictures, oldest first."""
        ...
