"""``make series``: the recurring orders of the demo, in a running system; a second time does nothing."""

import sys
import tomllib
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from deploy.demo import Client, Refused, running
from deploy.reference.divisions import HERE

CHINA = ZoneInfo("Asia/Shanghai")
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
    address = running()["http"]
    try:
        for account, wish in wishes(datetime.now(CHINA)):
            _begin(Client(address, account), account, wish)
    except Refused as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    return 0


def _begin(client: Client, account: str, wish: Wish) -> None:
    for known in client.get("/v1/series?limit=200")["items"]:
        if known["state"] == "running" and known["service_item"] == wish["service_item"]:
            print(f"{account} has {wish['service_item']} already: {known['id']}")
            return
    started = client.post("/v1/series", wish)
    first = datetime.fromisoformat(started["next"][0]["from"]).astimezone(CHINA)
    print(f"{account} gets {wish['service_item']} by {wish['rule']}, first on {first:%F %R}: {started['id']}")


if __name__ == "__main__":
    sys.exit(main())
