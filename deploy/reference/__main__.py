"""``python -m deploy.reference``: load the reference data into a running registry; a second time does nothing.

The city and what may be ordered there always; teams, volunteers and accounts of the demo only under
``SIDAN_PROFILE=local``. ``SIDAN_CENTERS=130802,130824`` opens these counties only.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from deploy.reference import demo, divisions
from deploy.reference.rpc import Away, Call, Refused, RpcClient
from services.chassis.messages import Command
from services.contracts.actor import SYSTEM
from services.contracts.registry import OpenSite, OpenSites

PATIENCE = 300.0
"""Seconds that all of it is tried for: services start at the same time, and a slow disk takes minutes."""
FIRST_ANSWER = 1.0  # seconds
ANSWER = 30.0  # seconds
PAUSE = 0.3  # seconds
CHUNK = 125
"""Sites in one call; each is committed as one transaction."""


def main() -> int:
    profile = os.environ.get("SIDAN_PROFILE", "production")
    try:
        centers = _centers()
        sites = divisions.sites(centers)
    except divisions.UnknownCenter as error:
        print(f"SIDAN_CENTERS: {error}", file=sys.stderr)
        return 1
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with RpcClient(os.environ["AMQP_URI"], "registry") as registry:
                bring_in(registry, centers, sites, with_demo=profile == "local")
            return 0
        except Refused as error:
            print(f"reference data refused: {error}", file=sys.stderr)
            return 1
        except Away as error:
            if time.monotonic() > until:
                print(f"reference data not loaded, the registry does not answer: {error}", file=sys.stderr)
                return 1
            time.sleep(PAUSE)


def _centers() -> list[str]:
    return [code.strip() for code in os.environ.get("SIDAN_CENTERS", "").split(",") if code.strip()]


def bring_in(registry: RpcClient, centers: Sequence[str], sites: Sequence[OpenSite], with_demo: bool) -> None:
    version = "+".join([divisions.city()["version"], *sorted(centers), *(["demo"] if with_demo else [])])
    if registry.call(_call("readiness"), FIRST_ANSWER)["version"] == version:
        print(f"reference data {version} is loaded already", flush=True)
        return
    started = time.monotonic()
    load_city(registry, sites)
    load(registry, "items", [_call("publish_item", item) for item in demo.items()])
    if with_demo:
        load(registry, "volunteers", [_call("add_volunteer", volunteer) for volunteer in demo.volunteers()])
        load(registry, "teams", [_call("form_team", team) for team in demo.teams()])
        load(registry, "accounts", [_call("add_account", account) for account in demo.accounts()])
    registry.call(_call("mark_loaded", version=version), ANSWER)
    print(f"reference data {version} loaded in {time.monotonic() - started:.1f} s", flush=True)


def load_city(registry: RpcClient, sites: Sequence[OpenSite]) -> None:
    """Tier by tier, since a parent comes before its children."""
    done = 0
    for tier in divisions.TOP_DOWN:
        chunks = list(_chunks([site for site in sites if site.tier is tier]))
        registry.call_all([_call("open_sites", OpenSites(sites=chunk)) for chunk in chunks], ANSWER)
        done += sum(map(len, chunks))
        _say("city", done, len(sites), "sites")


def _chunks(sites: Sequence[OpenSite]) -> Iterator[Sequence[OpenSite]]:
    for start in range(0, len(sites), CHUNK):
        yield sites[start : start + CHUNK]


def load(registry: RpcClient, what: str, calls: Sequence[Call]) -> None:
    registry.call_all(calls, ANSWER)
    _say(what, len(calls), len(calls))


def _say(what: str, done: int, total: int, unit: str = "") -> None:
    print(f"reference {what:<10}  {done}/{total} {unit}".rstrip(), flush=True)


def _call(method: str, command: Command | None = None, **target: str) -> Call:
    kwargs: dict[str, Any] = {"actor": SYSTEM.model_dump(mode="json"), **target}
    if command is not None:
        kwargs["command"] = command.model_dump(mode="json")
    return Call(method, kwargs)


if __name__ == "__main__":
    sys.exit(main())
