"""Order lives by many people at once: seeded, so that a run can be repeated; every command has its key.

A command whose outcome is unknown is given again with the same key until there is a definite answer, as a
client that follows the contract does.
"""

import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any, Self

import httpx

from bench.city import Village
from services.activities.domain import record_id
from tests.faults.oracle import DONE, OPEN, REFUSED, Oracle
from tests.support.pictures import a_photo
from tests.support.system import System, record

WISH = {"service_item": "home-haircut", "description": "请上门理发", "target_group": "elderly"}
CENTER = "center"
PHOTO = a_photo()
SEGMENT = timedelta(minutes=3)
"""The shortest time that is worth a point."""
UNTIL_THE_VISIT = timedelta(seconds=1.5)
"""From an appointment to its time."""
PATIENCE = 60.0
"""Seconds until a command without a definite answer is given up: that is a finding."""
PAUSES = (0.05, 0.3)  # seconds between two attempts
THINKING = 0.15  # seconds at most between two steps
VISITS_RATED = 0.1
"""Of the completed ones, by their team."""
ATTEMPT = 6.0  # seconds; the gateway promises an answer within 5
UNKNOWN = (429, 500, 502, 503, 504)
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Never used; a client would load all authorities into one of its own, for 30 ms of CPU."""


class GivenUp(Exception):
    """No definite answer in time."""


class Over(Exception):
    """The life has come to an end that was not its plan: the clock or another team was faster."""


@dataclass
class Tally:
    """What the load has cost and met."""

    lives: int = 0
    attempts: int = 0
    failed_attempts: int = 0
    seconds: list[float] = field(default_factory=list)
    """From a command's first attempt to its definite answer."""


class Slots:
    """Each volunteer's next free time of today, so that no service record overlaps another."""

    def __init__(self, system: System) -> None:
        self._system, self._next, self._lock = system, dict[str, Iterator[int]](), threading.Lock()

    def take(self, volunteer: str) -> dict[str, str]:
        with self._lock:
            number = next(self._next.setdefault(volunteer, count()))
        start = self._system.midnight() + number * SEGMENT
        return record(volunteer, start, start + SEGMENT)


class Client:
    """One connection to one of the gateways; to another one when that takes none, as a load balancer does."""

    def __init__(self, gateways: Sequence[str]) -> None:
        self.gateways = random.sample(gateways, len(gateways))
        self._http = httpx.Client(timeout=ATTEMPT, trust_env=False, verify=NO_TLS)

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Raise ``httpx.HTTPError``."""
        for _ in self.gateways[1:]:
            try:
                return self._http.request(method, self.gateways[0] + path, **arguments)
            except (httpx.ConnectError, httpx.RemoteProtocolError):
                self.gateways.append(self.gateways.pop(0))
        return self._http.request(method, self.gateways[0] + path, **arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._http.close()


class Workload:
    """``rate`` is lives per second over all workers, 0 for as fast as they can."""

    def __init__(self, system: System, gateways: list[str], villages: list[Village], oracle: Oracle, seed: int) -> None:
        self.system, self.gateways, self.villages, self.oracle, self.seed = system, gateways, villages, oracle, seed
        self.slots = Slots(system)
        self.tally = Tally()
        self.scenario = ""
        self._numbers = count()
        self._lock = threading.Lock()
        _ = system.person(CENTER).token
        for village in villages:
            for who in (village.resident, village.staff, *(team.leader for team in village.teams)):
                _ = system.person(who).token  # signed in before anything goes wrong

    def begin(self, scenario: str) -> None:
        self.scenario, self.tally, self._numbers = scenario, Tally(), count()

    @contextmanager
    def running(self, workers: int = 6, rate: float = 0.0, plans: "tuple[str, ...]" = ()) -> Iterator[None]:
        """Lives go on until the block ends; those that have begun are lived to their end."""
        stop = threading.Event()
        threads = [
            threading.Thread(target=self._work, args=(stop, workers / rate if rate else 0.0, plans))
            for _ in range(workers)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            self.ending = threads

    def ended(self) -> bool:
        return not any(thread.is_alive() for thread in self.ending)

    def _work(self, stop: threading.Event, every: float, plans: "tuple[str, ...]") -> None:
        with Client(self.gateways) as http:
            while not stop.is_set():
                begun = time.monotonic()
                self.live(http, plans)
                stop.wait(max(0.0, begun + every - time.monotonic()))

    def live(self, http: Client, plans: "tuple[str, ...]" = ()) -> "Life":
        with self._lock:
            number = next(self._numbers)
        life = Life(self, http, number)
        life.run(life.rng.choice(plans) if plans else FIRST.get(number))
        with self._lock:
            self.tally.lives += 1
        return life


class Life:
    """One order and everybody who has to do with it."""

    def __init__(self, load: Workload, http: Client, number: int) -> None:
        self.load, self.http = load, http
        self.name = f"{load.scenario}-{number}"
        self.rng = random.Random(f"{load.seed}-{self.name}")
        self.village = load.villages[number % len(load.villages)]
        self.team, self.other = self.rng.sample(self.village.teams, 2)
        self.order = ""

    def run(self, plan: str | None = None) -> None:
        names, weights = zip(*((name, weight) for name, (weight, _) in PLANS.items()), strict=True)
        plan = plan or self.rng.choices(names, weights)[0]
        try:
            PLANS[plan][1](self)
        except Over:
            self.cancel()
        except GivenUp:
            return  # it stands in the oracle

    # -- plans --------------------------------------------------------------------------------------------

    def straight(self) -> None:
        self.place()
        self.must("accept", self.team.leader, team=self.team.id)
        self.serve()

    def contested(self) -> None:
        """Both teams want it at once."""
        self.place()
        answers: list[int] = []

        def accept(team: Any) -> None:
            with Client(self.http.gateways) as http:
                rival = Life(self.load, http, 0)
                rival.name, rival.order, rival.rng = (
                    f"{self.name}-{team.id}",
                    self.order,
                    random.Random(team.id + self.name),
                )
                try:
                    answers.append(rival.tell("accept", team.leader, team=team.id)[0])
                except GivenUp:
                    return  # it stands in the oracle

        rivals = [threading.Thread(target=accept, args=(team,)) for team in (self.team, self.other)]
        for thread in rivals:
            thread.start()
        for thread in rivals:
            thread.join()
        status, answer = self.read()
        if status != 200 or not answer.get("accepted_by"):
            raise Over
        if answer["accepted_by"] == self.other.id:
            self.team, self.other = self.other, self.team
        self.serve()

    def declined(self) -> None:
        self.place()
        self.must("decline", self.other.leader, team=self.other.id, reason="今天没有空")
        self.must("accept", self.team.leader, team=self.team.id)
        self.serve()

    def withdrawn(self) -> None:
        self.place()
        self.must("accept", self.other.leader, team=self.other.id)
        self.must("withdraw", self.other.leader, team=self.other.id, reason="队员生病")
        self.must("accept", self.team.leader, team=self.team.id)
        self.serve()

    def asked(self) -> None:
        """The station has a question, and the clock waits for the answer."""
        self.place()
        self.must("message", self.village.staff, text="请问门牌号是多少", needs_reply=True)
        self.must("message", self.village.resident, text="八号")
        self.must("accept", self.team.leader, team=self.team.id)
        self.serve()

    def photographed(self) -> None:
        """By the resident before, and by the team when it is there."""
        self.place()
        self.must("photos", self.village.resident, PHOTO)
        self.must("accept", self.team.leader, team=self.team.id)
        self.must("photos", self.team.leader, PHOTO)
        self.serve()

    def missed(self) -> None:
        """The first team does not come at the agreed time, the other one does."""
        self.place()
        self.must("accept", self.other.leader, team=self.other.id)
        start = self.load.system.now() + UNTIL_THE_VISIT
        visit = {"from": start.isoformat(), "to": (start + SEGMENT).isoformat()}
        self.must("appoint", self.other.leader, **visit)
        time.sleep(UNTIL_THE_VISIT.total_seconds())
        self.must("no-show", self.village.resident, reason="没有人来")
        self.must("accept", self.team.leader, team=self.team.id)
        self.serve()

    def complained(self) -> None:
        """About an order that is closed; the station settles it."""
        self.straight()
        status, case = self.tell("complain", self.village.resident, about="quality", text="剪得不齐")
        if status == 201:
            self.send("settle", self.village.staff, f"/v1/cases/{case['id']}/settle", {"outcome": "已回访"})

    def supported(self) -> None:
        """No order: the station asks the center for goods."""
        goods = [{"name": f"{self.name} 椅子", "count": 20}]
        wish = {"kind": "material", "text": "会场没有椅子", "goods": goods}
        status, request = self.send("ask", self.village.staff, "/v1/support-requests", wish)
        if status == 201:
            path = f"/v1/support-requests/{request['id']}"
            self.send("supply", CENTER, f"{path}/answer", {"text": "下午送到", "goods": goods})
            self.send("praise", self.village.staff, f"{path}/rate", {"score": 5})

    def reported(self) -> None:
        """No order either: somebody of the village asks for a mediator."""
        quarrel = {"kind": "mediation", "text": f"{self.name} 两家为院墙吵起来了"}
        status, case = self.send("report", self.village.resident, "/v1/cases", quarrel)
        if status == 201:
            path = f"/v1/cases/{case['id']}"
            self.send("attend", self.village.staff, f"{path}/take", {})
            self.send("mediate", self.village.staff, f"{path}/settle", {"outcome": "两家说好了"})

    def cancelled(self) -> None:
        self.place()
        self.cancel()

    def escalated(self) -> None:
        """By hand, and cancelled above."""
        self.place()
        self.must("escalate", self.village.staff, reason="本站队伍都没有空")
        self.cancel()

    def left_alone(self) -> None:
        """The clock takes it up, tier by tier, until it is unmet."""
        self.place()

    def placed(self) -> None:
        """And nothing more, for scenarios that go on by themselves."""
        self.place()

    def urgent(self) -> None:
        """For whoever cannot wait; left alone."""
        self.place(urgent=True)

    def twice(self) -> None:
        """Every step is given a second time, as another request."""
        self.place()
        self.team, self.other = self.other, self.team
        for step, who, body in self._steps():
            self.must(step, who, **body)
            self.tell(step, who, **body)

    def corrected(self) -> None:
        """The hours of a closed order are reversed."""
        self.straight()
        hours = record_id(self.order, 0)
        for _ in range(40):
            status, _answer = self.send(
                "reverse", self.village.staff, f"/v1/hours/{hours}/reverse", {"reason": "登记有误"}
            )
            if status == 200:
                return
            self.pause(0.5)  # they are on their way

    # -- steps --------------------------------------------------------------------------------------------

    def place(self, **more: Any) -> None:
        status, answer = self.send("place", self.village.resident, "/v1/orders", WISH | more)
        if status != 201:
            raise Over
        self.order = answer["id"]

    def serve(self) -> None:
        for step, who, body in self._steps()[1:]:
            self.must(step, who, **body)

    def _steps(self) -> list[tuple[str, str, dict[str, Any]]]:
        leader, record = self.team.leader, self.load.slots.take(self.rng.choice(self.team.members))
        visit = [("rate-visit", leader, {"score": self.rng.randint(1, 5)})] if self.rng.random() < VISITS_RATED else []
        return [
            ("accept", leader, {"team": self.team.id}),
            ("start", leader, {}),
            ("complete", leader, {"records": [record], "summary": "理发一次"}),
            *visit,
            ("rate", self.village.resident, {"score": self.rng.randint(1, 5)}),
            ("close", self.village.staff, {}),
        ]

    def cancel(self) -> None:
        try:
            if self.order:
                self.tell("cancel", self.village.resident, reason="不需要了")
        except GivenUp:
            return  # it stands in the oracle

    def must(self, step: str, who: str, picture: bytes | None = None, **body: Any) -> dict[str, Any]:
        self.pause(THINKING)
        status, answer = self.tell(step, who, picture, **body)
        if status >= 300:
            raise Over
        return answer

    def tell(self, step: str, who: str, picture: bytes | None = None, **body: Any) -> tuple[int, dict[str, Any]]:
        return self.send(step, who, f"/v1/orders/{self.order}/{step}", body, picture)

    def read(self) -> tuple[int, dict[str, Any]]:
        headers = self.load.system.person(self.village.resident).headers
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                response = self.http.request("GET", f"/v1/orders/{self.order}", headers=headers)
                if response.status_code not in UNKNOWN:
                    return response.status_code, response.json()
            except httpx.HTTPError:
                pass  # asked again
            time.sleep(self.rng.uniform(*PAUSES))
        return 0, {}

    def send(
        self, step: str, who: str, path: str, body: dict[str, Any], picture: bytes | None = None
    ) -> tuple[int, dict[str, Any]]:
        """The definite answer; raise ``GivenUp`` when there is none in time. A picture is sent in place of the body."""
        oracle, key = self.load.oracle, f"{self.name}-{step}-{self.rng.getrandbits(48):x}"
        oracle.intend(key, self.load.scenario, self.name, who, step, path, body)
        headers = {**self.load.system.person(who).headers, "Idempotency-Key": key}
        sent: dict[str, Any] = {"json": body, "headers": headers}
        if picture:
            sent = {"content": picture, "headers": headers | {"Content-Type": "image/jpeg"}}
        begun, tally = time.monotonic(), self.load.tally
        while time.monotonic() < begun + PATIENCE:
            oracle.attempted(key)
            tally.attempts += 1
            try:
                response = self.http.request("POST", path, **sent)
                if response.status_code not in UNKNOWN:
                    return self._settle(key, step, response, begun)
                problem = response.text[:300]
            except httpx.HTTPError as error:
                problem = repr(error)
            tally.failed_attempts += 1
            time.sleep(self.rng.uniform(*PAUSES))
        oracle.settle(key, OPEN, 0, self.order, {"problem": problem})
        raise GivenUp

    def _settle(self, key: str, step: str, response: httpx.Response, begun: float) -> tuple[int, dict[str, Any]]:
        answer = response.json()
        order = answer.get("id", "") if step == "place" and response.is_success else self.order
        self.load.oracle.settle(key, DONE if response.is_success else REFUSED, response.status_code, order, answer)
        self.load.tally.seconds.append(time.monotonic() - begun)
        return response.status_code, answer

    def pause(self, seconds: float) -> None:
        time.sleep(self.rng.uniform(0, seconds))


PLANS: dict[str, tuple[int, Callable[[Life], None]]] = {
    "straight": (28, Life.straight),
    "photographed": (4, Life.photographed),
    "asked": (6, Life.asked),
    "contested": (10, Life.contested),
    "declined": (8, Life.declined),
    "withdrawn": (8, Life.withdrawn),
    "missed": (4, Life.missed),
    "complained": (4, Life.complained),
    "supported": (2, Life.supported),
    "reported": (2, Life.reported),
    "cancelled": (6, Life.cancelled),
    "escalated": (6, Life.escalated),
    "left_alone": (0, Life.left_alone),
    "placed": (0, Life.placed),
    "urgent": (0, Life.urgent),
    "twice": (0, Life.twice),
    "corrected": (12, Life.corrected),
}
"""How many of a hundred lives go which way."""
FIRST = dict.fromkeys((0, 1, 2), "left_alone")
"""The first lives of a scenario, since it takes them three deadlines to come to rest."""
