"""``make series``: the recurring orders of the demo, in a running system; a second time does nothing."""

import sys
import tomllib
from collections.abc import Callable
from datetime import datetime, time, timedelta
from typing import Any

from deploy.client import Client, Refused, running
from deploy.reference.divisions import HERE
from services.contracts.zone import CHINA

Wish = dict[str, Any]


def wishes(now: datetime) -> list[tuple[str, Wish]]:
    """Who asks for what, from tomorrow on."""
    told = tomllib.loads((HERE / "series.toml").read_text(encoding="utf-8"))["series"]
    tomorrow = now.astimezone(CHINA).date() + timedelta(days=1)
    return [(wish.pop("account"), _from(wish, tomorrow)) for wish in told]


def _from(wish: Wish, day: Any) -> Wish:
    hour = time.fromisoformat(wish.pop("time"))
    return {**wish, "start": datetime.combine(day, hour, CHINA).isoformat()}


def main() -> int:
    try:
        begin(running()["http"], print)
    except Refused as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    return 0


def begin(address: str, say: Callable[[str], object]) -> None:
    """Those that do not run yet."""
    for account, wish in wishes(datetime.now(CHINA)):
        say(_begin(Client(address, account), account, wish))


def _begin(client: Client, account: str, wish: Wish) -> str:
    for known in client.get("/v1/series?limit=200")["items"]:
        if known["state"] == "running" and known["service_item"] == wish["service_item"]:
            return f"{account} has {wish['service_item']} already: {known['id']}"
    started = client.post("/v1/series", wish)
    first = datetime.fromisoformat(started["next"][0]["from"]).astimezone(CHINA)
    return f"{account} gets {wish['service_item']} by {wish['rule']}, first on {first:%F %R}: {started['id']}"


if __name__ == "__main__":
    sys.exit(main())
