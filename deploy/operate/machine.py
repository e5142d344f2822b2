"""What the doctor looks at on this machine: versions, processor, disk, limits, secrets."""

import base64
import os
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from kombu import Connection

from deploy.local.environment import ROOT, data_dir
from deploy.operate.finding import Finding, error, warning
from deploy.operate.system import NoSystem, System, endpoints
from services.registry.passwords import matches

PYTHON = (3, 11)
DEMO_ACCOUNTS = ("resident", "station", "institute", "center", "leader1", "volunteer1", "admin", "municipal")
LEAST_FREE = 1_000_000_000
LEAST_FREE_SHARE = 0.05
LEAST_FILES = 1024
DISTINCT_BYTES = 8
"""A random key of 32 bytes has more."""
SECRETS = ("SIDAN_DATA_KEY", "SIDAN_TOKEN_SECRET")
PINNED = re.compile(r"^([\w.-]+)==(\S+)")


def on_this_machine(system: System) -> Iterator[Finding]:
    yield from _python()
    yield from _lock_file(Path(os.environ.get("SIDAN_LOCK_FILE") or ROOT / "requirements.lock"))
    yield from _processor(system)
    yield from _disk()
    yield from _files()
    yield from _secrets(system)


def _python() -> Iterator[Finding]:
    if sys.version_info[:2] != PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        yield error("python", f"this is Python {found}, not 3.11", "make the virtual environment with python3.11")


def _lock_file(path: Path) -> Iterator[Finding]:
    if not path.exists():
        return
    pinned = [found.groups() for line in path.read_text().splitlines() if (found := PINNED.match(line))]
    for name, wanted in pinned:
        installed = _installed(name)
        if installed != wanted:
            what = f"{name} {installed or 'nothing'} is installed, the lock file says {wanted}"
            yield warning("packages", what, "run `make install`, or build the image again")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor(system: System) -> Iterator[Finding]:
    cpu = Path(os.environ.get("SIDAN_CPUINFO") or "/proc/cpuinfo")
    if not _is_local(system) or not cpu.exists():
        return
    flags = next((line for line in cpu.read_text().splitlines() if line.startswith("flags")), "")
    if flags and " avx " not in f"{flags} ":
        remedy = "move the database to another machine, or give the virtual one its host's processor"
        yield error("processor", "it has no AVX, which MongoDB needs from version 5", remedy)


def _is_local(system: System) -> bool:
    try:
        host = system.mongo_uri.partition("://")[2].rpartition("@")[2]
    except NoSystem:
        return False
    return host.startswith(("127.0.0.1", "localhost"))


def _disk() -> Iterator[Finding]:
    folder = data_dir()
    if not folder.exists():
        return
    usage = shutil.disk_usage(folder)
    if usage.free < LEAST_FREE or usage.free < LEAST_FREE_SHARE * usage.total:
        remedy = "free some: the broker and the database stop taking anything when nothing is left"
        yield error("disk", f"{usage.free / 1e9:.1f} GB are free in {folder}", remedy)


def _files() -> Iterator[Finding]:
    """Of the processes that the local runtime has started."""
    for pid in sorted((data_dir() / "run").glob("*.pid")):
        try:
            limits = Path(f"/proc/{int(pid.read_text())}/limits").read_text()
        except (OSError, ValueError):
            continue
        soft = next(line.split()[3] for line in limits.splitlines() if line.startswith("Max open files"))
        if soft != "unlimited" and int(soft) < LEAST_FILES:
            what = f"{pid.stem} may open {soft} files and connections"
            yield warning("files", what, f"raise the limit to {LEAST_FILES} or more (`ulimit -n`) and start it again")


def _secrets(system: System) -> Iterator[Finding]:
    """Of systems that are no local ones."""
    if _is_local_profile():
        return
    place = urlsplit(Connection(system.amqp_uri).as_uri(include_password=True))
    if (place.username, place.password) == ("guest", "guest"):
        yield error("secrets", "the broker is used as guest with its known password", "give it a user of its own")
    for name in SECRETS:
        if name in os.environ and _is_guessable(os.environ[name]):
            remedy = (
                "make one: python3 -c 'import secrets,base64;print(base64.urlsafe_b64encode(secrets.token_bytes(32)))'"
            )
            yield error("secrets", f"{name} is no random key of 32 bytes", remedy)


def _is_local_profile() -> bool:
    return os.environ.get("SIDAN_PROFILE", "local" if endpoints() else "production") == "local"


def _is_guessable(text: str) -> bool:
    try:
        key = base64.urlsafe_b64decode(text)
    except ValueError:
        return True
    return len(key) != 32 or len(set(key)) < DISTINCT_BYTES


def demo_accounts(system: System) -> Iterator[Finding]:
    """Needs the database."""
    if _is_local_profile() or "registry" not in system.services:
        return
    for account in system.database("registry")["accounts"].find({"username": {"$in": list(DEMO_ACCOUNTS)}}):
        if matches(account.get("password_hash"), "demo"):
            remedy = "delete it, or change its password: it is for the local profile only"
            yield error("secrets", f"account {account['username']} has the demo password", remedy)
