"""Two hundred teams accept the same order in the same moment, over HTTP."""

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from bench import city
from bench.processes import request
from bench.report import Figure
from bench.rounds import Settings, WrongResult
from bench.servers import Servers
from bench.sides import ITEM, Ours

TEAMS = 200
ORDERS = 5
WITHIN = 2.0  # seconds
KNOWN = 60.0
"""Seconds until dispatch knows of all teams."""

details: dict[str, Any] = {}


def measure(servers: Servers, settings: Settings) -> list[Figure]:
    servers.clear(Ours.prefix)
    village = city.village(city.villages()[0].site, TEAMS, size=1)
    side = Ours(servers, [village])
    side.start()
    try:
        until(lambda: len(place(side, village)["offers"]) == TEAMS)
        took = [accepted(side, village) for _ in range(settings.of(ORDERS, 2))]
    finally:
        side.processes.stop()
        servers.clear(Ours.prefix)
    note = f"{len(took)} orders, one winner each; all answered after {', '.join(f'{one:.2f}' for one in took)} s"
    return [Figure(f"{TEAMS} acceptances of one order, all answered", max(took), "s", at_most=WITHIN, note=note)]


def place(side: Ours, village: city.Village) -> Any:
    wish = {"service_item": ITEM, "description": "请上门理发", "target_group": "elderly", "address": "一号院"}
    status, order = post(side, village.resident, "/v1/orders", wish)
    if status != 201:
        raise WrongResult(f"order refused: {status} {order}")
    return order


def accepted(side: Ours, village: city.Village) -> float:
    """Seconds from the first request to the last answer."""
    order, gate = place(side, village), Barrier(TEAMS + 1)

    def accept(team: city.People) -> int:
        gate.wait()
        return post(side, team.leader, f"/v1/orders/{order['id']}/accept", {"team": team.id})[0]

    with ThreadPoolExecutor(TEAMS) as pool:
        answers = pool.map(accept, village.teams)
        gate.wait()
        begun = time.perf_counter()
        statuses = Counter(answers)
        took = time.perf_counter() - begun
    if statuses != {200: 1, 409: TEAMS - 1}:
        raise WrongResult(f"not one winner: {dict(statuses)}")
    return took


def post(side: Ours, who: str, path: str, body: Any) -> tuple[int, Any]:
    kind = {"Content-Type": "application/json", "Authorization": f"Bearer {side.tokens[who]}"}
    status, answer = request("POST", side.port, path, json.dumps(body), kind)
    return status, json.loads(answer)


def until(condition: Any) -> None:
    give_up = time.monotonic() + KNOWN
    while not condition():
        if time.monotonic() > give_up:
            raise WrongResult("the teams have not arrived at dispatch")
        time.sleep(0.5)
