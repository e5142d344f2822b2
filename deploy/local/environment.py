"""The settings of a local system, from the environment, and what its processes are told."""

import base64
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECRETS = ("SIDAN_DATA_KEY", "SIDAN_TOKEN_SECRET")
SLA_PROFILES = ("standard", "demo")
KEY_BYTES = 32
ALL_ADDRESSES = ("0.0.0.0", "::")


class SettingsError(ValueError):
    """A variable of the environment has a value that cannot be used."""


@dataclass(frozen=True)
class Settings:
    """What one local system is given; a server address that is None is started here."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8000
    replicas: int = 1
    sla_profile: str = "standard"
    amqp_uri: str | None = None
    mongo_uri: str | None = None

    @classmethod
    def from_environment(cls) -> "Settings":
        return cls(
            data_dir=data_dir(),
            host=os.environ.get("SIDAN_HTTP_HOST") or cls.host,
            port=_number("SIDAN_HTTP_PORT", cls.port, 1, 65535),
            replicas=_number("SIDAN_REPLICAS", cls.replicas, 1, 64),
            sla_profile=_choice("SIDAN_SLA_PROFILE", SLA_PROFILES),
            amqp_uri=os.environ.get("AMQP_URI") or None,
            mongo_uri=os.environ.get("MONGO_URI") or None,
        )

    @property
    def logs(self) -> Path:
        return self.data_dir / "log"

    @property
    def run(self) -> Path:
        """Process ids and addresses of the running system."""
        return self.data_dir / "run"

    @property
    def address(self) -> str:
        """Where a browser on this machine finds the gateway."""
        host = "127.0.0.1" if self.host in ALL_ADDRESSES else self.host
        return f"http://{host}:{self.port}"


def data_dir() -> Path:
    """Where everything is written."""
    return Path(os.environ.get("SIDAN_DATA_DIR") or ROOT / "var").resolve()


def child_environment(settings: Settings, amqp: str, mongo: str) -> dict[str, str]:
    """The environment of every process of the system."""
    return {
        **load_secrets(settings.data_dir / "secrets.env"),
        **os.environ,
        "AMQP_URI": amqp,
        "MONGO_URI": mongo,
        "SIDAN_DATA_DIR": str(settings.data_dir),
        "SIDAN_PROFILE": "local",
        "SIDAN_SLA_PROFILE": settings.sla_profile,
        "SIDAN_HTTP_HOST": settings.host,
        "SIDAN_HTTP_PORT": str(settings.port),
        "EVENTLET_NO_GREENDNS": "yes",
        "PYTHONUNBUFFERED": "1",
    }


def load_secrets(file: Path) -> dict[str, str]:
    """The keys of this data directory, made at the first start."""
    if not file.exists():
        lines = [f"{name}={_new_key()}\n" for name in SECRETS]
        write_private(file, "".join(lines))
    pairs = (line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)
    return {name: value for name, value in pairs}


def write_private(file: Path, text: str, mode: int = 0o600) -> None:
    """Replace the file at once, readable by its owner only."""
    draft = file.with_name(f"{file.name}.new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as output:
        output.write(text)
    draft.replace(file)


def _new_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def _number(name: str, default: int, lowest: int, highest: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not lowest <= int(text) <= highest:
        raise SettingsError(f"{name} must be a number from {lowest} to {highest}, not {text!r}.")
    return int(text)


def _choice(name: str, values: tuple[str, ...]) -> str:
    """One of the values, the first when nothing is set."""
    value = os.environ.get(name) or values[0]
    if value not in values:
        raise SettingsError(f"{name} must be one of {', '.join(values)}, not {value!r}.")
    return value
