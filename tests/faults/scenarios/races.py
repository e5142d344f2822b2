"""F37 to F39, F56: people who want the same at the same moment."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from tests.faults.fleet import TWICE
from tests.faults.run import Run, quantile, scenario
from tests.faults.workload import Client, Life

ROUNDS = 40
TYPHOON, TYPHOON_SECONDS = 5000, 60.0
IN_FLIGHT, PLACING, LOOKING = 40, 14, 24
LOOK_AGAIN = 0.05  # seconds
REFUSED, RANKS = "sidan_requests_refused_total", ("reads", "commands", "urgent")


def at_once(moves: list[Callable[[], Any]]) -> list[Any]:
    """All of them from behind one barrier."""
    barrier, answers = threading.Barrier(len(moves)), list[Any]()

    def go(move: Callable[[], Any]) -> None:
        barrier.wait(30)
        answers.append(move())

    threads = [threading.Thread(target=go, args=(move,)) for move in moves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


class Racers:
    """Lives that share an order, each with a connection of its own to one of the gateways."""

    def __init__(self, run: Run, count: int) -> None:
        self.run = run
        self.clients = [Client(run.fleet.gateways) for _ in range(count)]

    def of(self, placed: Life) -> list[Life]:
        found = []
        for number, client in enumerate(self.clients):
            racer = Life(self.run.workload, client, 0)
            racer.name, racer.order, racer.village = f"{placed.name}-racer{number}", placed.order, placed.village
            racer.rng = random.Random(racer.name)
            found.append(racer)
        return found

    def close(self) -> None:
        for client in self.clients:
            client.__exit__()


@scenario(
    "F37",
    "two teams, then fifty requests, accept one order at once",
    layout=TWICE,
    without="compare-and-set",
)
def double_acceptance(run: Run) -> None:
    """One wins, everybody else is told so; one acceptance stands in the history."""
    for racers_count in (2,) * ROUNDS + (50, 50):
        racers = Racers(run, racers_count)
        placed = run.lives(1, ("placed",))[0]
        teams = placed.village.teams
        moves = [
            lambda racer=racer, team=teams[n % 2]: racer.tell("accept", team.leader, team=team.id)
            for n, racer in enumerate(racers.of(placed))
        ]
        statuses = Counter(status for status, _ in at_once(moves))
        racers.close()
        run.result.faults += 1
        run.expect(
            statuses == {200: 1, 409: racers_count - 1}, f"one acceptance of {racers_count}, answers {dict(statuses)}"
        )
        run.cancel(placed)


@scenario("F38", "acceptance, escalation and cancellation race for one order", layout=TWICE, without="compare-and-set")
def race_for_an_order(run: Run) -> None:
    """Exactly one comes first; who is late is told, or finds it done."""
    rng = random.Random(run.result.seed)
    for _ in range(2 * ROUNDS):
        racers = Racers(run, 4)
        placed = run.lives(1, ("placed",))[0]
        lives = racers.of(placed)
        moves = [
            partial(life.tell, step, who, **body) for life, (step, who, body) in zip(lives, rivals(placed), strict=True)
        ]
        rng.shuffle(moves)
        answers = at_once(moves)
        racers.close()
        run.result.faults += 1
        run.expect(any(status == 200 for status, _ in answers), f"one of four moves succeeds, answers {answers}")
        run.cancel(placed)


def rivals(placed: Life) -> list[tuple[str, str, dict[str, Any]]]:
    team, village = placed.village.teams[0], placed.village
    return [
        ("accept", team.leader, {"team": team.id}),
        ("escalate", village.staff, {"reason": "本站队伍都没有空"}),
        ("cancel", village.resident, {"reason": "不需要了"}),
        ("reject", village.staff, {"reason": "重复点单"}),
    ]


@scenario("F39", "every step again and out of turn", without="transitions")
def out_of_turn(run: Run) -> None:
    """Each refused with the state and what is possible; nothing changes by it."""
    rng = random.Random(run.result.seed)
    for life in run.lives(6, ("straight", "withdrawn")):
        again = Racers(run, 1)
        (racer,) = again.of(life)
        slot = run.workload.slots.take(life.team.members[0])
        moves: list[tuple[str, str, dict[str, Any]]] = [
            ("start", life.team.leader, {}), ("rate", life.village.resident, {"score": 1}),
            ("close", life.village.staff, {}), ("cancel", life.village.resident, {"reason": "不需要了"}),
            ("accept", life.other.leader, {"team": life.other.id}),
            ("complete", life.team.leader, {"records": [slot], "summary": "再来"}),
        ]  # fmt: skip
        rng.shuffle(moves)
        for step, who, body in moves:
            status, answer = racer.tell(step, who, **body)
            run.expect(
                status == 409 and answer.get("state") == "closed", f"{step} of a closed order is refused: {status}"
            )
        again.close()
        run.result.faults += len(moves)
    with run.load(plans=("twice",)):
        run.fleet.pause(1)


@scenario("F56", "a typhoon day: thousands of orders at one station within a minute", without="shedding")
def typhoon_day(run: Run) -> None:
    """Others are served meanwhile and timers keep their time; lists are refused before commands, urgent orders last."""
    run.fleet.restart_with("gateway", SIDAN_MAX_IN_FLIGHT=str(IN_FLIGHT), SIDAN_RATE_SCARCE="0", SIDAN_RATE_ACCOUNT="0")
    run.fleet.until(lambda: run.fleet.serving("gateway"), 30, "the gateway")
    hot = run.workload.villages[0]
    over, placed = threading.Event(), count()

    def place(plan: str) -> None:
        with Client(run.fleet.gateways) as http:
            while not over.is_set() and (number := next(placed)) < TYPHOON:
                life = Life(run.workload, http, number)
                life.name, life.village = f"{life.name}-hot", hot
                life.run(plan)

    def look() -> None:
        staff = run.fleet.person(hot.staff).headers
        with Client(run.fleet.gateways) as http:
            while not over.wait(LOOK_AGAIN):
                http.request("GET", "/v1/orders?limit=5", headers=staff)

    roles = [partial(place, "urgent")] + [partial(place, "placed")] * PLACING + [look] * LOOKING
    people = [threading.Thread(target=role) for role in roles]
    with run.load(workers=3, plans=("straight",)) as load, run.trouble():
        for person in people:
            person.start()
        run.fleet.pause(TYPHOON_SECONDS if not run.without else TYPHOON_SECONDS / 4)
        over.set()
        run.fleet.until(lambda: not any(map(threading.Thread.is_alive, people)), 90, "everybody to have ordered")
        refused = {rank: run.fleet.metric("gateway", f'{REFUSED}{{reason="{rank}"}}') for rank in RANKS}
    run.note(
        **{
            "placed": next(placed),
            "refused": refused,
            "p99 of the others": round(quantile(load.tally.seconds, 0.99), 2),
        }
    )
    run.expect(refused["reads"] > refused["commands"], f"lists are refused first: {refused}")
    run.expect(refused["urgent"] == 0, f"no urgent order is refused: {refused}")
    run.rest()
    run.fleet.restart_with("gateway", SIDAN_MAX_IN_FLIGHT="400")
