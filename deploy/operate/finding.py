"""What the doctor finds."""

from dataclasses import asdict, dataclass
from typing import Any

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Finding:
    severity: str
    """``error``: something does not work or may be lost; ``warning``: it will, or somebody should know."""
    about: str
    what: str
    remedy: str

    def summary(self) -> dict[str, Any]:
        return asdict(self)


def error(about: str, what: str, remedy: str) -> Finding:
    return Finding(ERROR, about, what, remedy)


def warning(about: str, what: str, remedy: str) -> Finding:
    return Finding(WARNING, about, what, remedy)
