"""The steps of an order's life, taken by the people of the demo."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import httpx
from pymongo import MongoClient

from deploy.reference import divisions
from deploy.reference.rpc import Call, RpcClient
from services.chassis.messages import Command
from services.contracts.actor import SYSTEM
from services.contracts.registry import OpenSite, OpenSites
from services.registry.identity import check_character
from tests.support.pictures import a_photo
from tests.support.processes import eventually
from tests.support.system import Person, System

VILLAGE, TOWNSHIP, COUNTY = "130802103202", "130802103", "130802"
TEAMS = {
    "leader1": "zhuangtouying-zhixin",
    "leader2": "zhuangtouying-yixing",
    "leader3": "dashimiao-linli",
    "leader4": "shuangqiao-minsheng",
    "leader-county": "luanping-linli",
}
MEMBERS = {
    "leader1": ("vol-leader1", "vol-volunteer1"),
    "leader2": ("vol-leader2", "vol-volunteer2"),
    "leader3": ("vol-leader3", "vol-linli-1"),
    "leader4": ("vol-leader4", "vol-minsheng-1"),
    "leader-county": ("vol-leader-county", "vol-luanping-1"),
}
WISH = {"service_item": "home-haircut", "description": "给腿脚不便的老人理发", "target_group": "elderly"}
EVERYBODY = {"approve": [{"name": "everybody", "title": "符合条件的队伍"}]}
"""Rules under which every fitting team is asked."""
STAGES = ("offered", "accepted", "in_service", "completed", "rated", "closed")
POINTS_AN_HOUR = 10
_serials = count(2)


def newcomer(**changes: Any) -> dict[str, Any]:
    """What somebody registers with whom no other test knows."""
    number = f"13082419400501{next(_serials):03}"
    return {"name": "周满仓", "id_number": number + check_character(number), "phone": "13912345678", **changes}


class Steps:
    """Every step fails the test when it is refused; ``patient``: it is repeated while its outcome is unknown."""

    def __init__(self, system: System, patient: bool = False) -> None:
        self.system = system
        self._do, self._read = ("insist", "read_when_up") if patient else ("do", "read")

    def place(self, who: str = "resident", **changes: Any) -> dict[str, Any]:
        return self._take(who, "/v1/orders", {**WISH, **changes})

    def accept(self, order: dict[str, Any], leader: str = "leader1") -> dict[str, Any]:
        return self.take(leader, order, "accept", team=TEAMS[leader])

    def start(self, order: dict[str, Any], leader: str = "leader1") -> dict[str, Any]:
        return self.take(leader, order, "start")

    def complete(
        self, order: dict[str, Any], leader: str = "leader1", records: list[dict[str, str]] | None = None
    ) -> dict[str, Any]:
        """By default both members of the team served for 6 minutes."""
        if records is None:
            records = [self.system.segment(volunteer) for volunteer in MEMBERS[leader]]
        return self.take(leader, order, "complete", records=records, summary="理发一次")

    def rate(self, order: dict[str, Any], who: str = "resident", score: int = 5) -> dict[str, Any]:
        return self.take(who, order, "rate", score=score)

    def close(self, order: dict[str, Any], who: str = "station") -> dict[str, Any]:
        return self.take(who, order, "close")

    def decline(self, order: dict[str, Any], leader: str = "leader1") -> dict[str, Any]:
        return self.take(leader, order, "decline", team=TEAMS[leader], reason="今天没有空")

    def withdraw(self, order: dict[str, Any], leader: str = "leader1") -> dict[str, Any]:
        return self.take(leader, order, "withdraw", team=TEAMS[leader], reason="队员生病")

    def escalate(self, order: dict[str, Any], who: str = "station") -> dict[str, Any]:
        return self.take(who, order, "escalate", reason="本站队伍都没有空")

    def reopen(self, order: dict[str, Any], who: str = "resident") -> dict[str, Any]:
        return self.take(who, order, "reopen", reason="还没有理完")

    def message(self, order: dict[str, Any], who: str, text: str = "请问几点方便", **more: Any) -> dict[str, Any]:
        return self.take(who, order, "message", text=text, **more)

    def messages(self, order: dict[str, Any], who: str) -> list[dict[str, Any]]:
        """Oldest first."""
        items: list[dict[str, Any]] = self.system.person(who).read(f"/v1/orders/{order['id']}/messages")["items"]
        return items

    def photograph(self, order: dict[str, Any], who: str, picture: bytes | None = None) -> dict[str, Any]:
        response = send_photo(self.system.person(who), order, picture or a_photo())
        assert response.status_code == 201, response.text
        photo: dict[str, Any] = response.json()
        return photo

    def serve(
        self, order: dict[str, Any], leader: str = "leader1", staff: str = "station",
        records: list[dict[str, str]] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """From the acceptance to the close."""
        self.accept(order, leader)
        self.start(order, leader)
        self.complete(order, leader, records)
        self.rate(order)
        return self.close(order, staff)

    def reach(
        self, stage: str, who: str = "resident", leader: str = "leader1", staff: str = "station"
    ) -> dict[str, Any]:
        """A new order in the given state."""
        order = self.place(who)
        moves = (
            lambda: self.accept(order, leader), lambda: self.start(order, leader), lambda: self.complete(order, leader),
            lambda: self.rate(order, who), lambda: self.close(order, staff),
        )  # fmt: skip
        for move in moves[: STAGES.index(stage)]:
            order = move()
        return order

    def take(self, who: str, order: dict[str, Any], command: str, **body: Any) -> dict[str, Any]:
        return self._take(who, f"/v1/orders/{order['id']}/{command}", body)

    def _take(self, who: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(self.system.person(who), self._do)(path, body)
        return answer

    # -- what there is to see -------------------------------------------------------------------------

    def order(self, order: dict[str, Any], who: str = "admin") -> dict[str, Any]:
        found: dict[str, Any] = self.system.person(who).read(f"/v1/orders/{order['id']}")
        return found

    def timeline(self, order: dict[str, Any], who: str = "admin") -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.system.person(who).read(f"/v1/orders/{order['id']}/timeline")["items"]
        return items

    def facts(self, order: dict[str, Any]) -> list[str]:
        return [entry["event"] for entry in self.timeline(order)]

    def hours(self, order: dict[str, Any], volunteer: str) -> list[dict[str, Any]]:
        """Records of this order."""
        items = self._all(f"/v1/volunteers/{volunteer}/hours")
        return [record for record in items if record["source"] == {"type": "order", "id": order["id"]}]

    def awards(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        """Entries whose source is this hours record, in the account of any volunteer of the demo."""
        source = {"type": "hours", "id": record["id"]}
        return [
            entry for entry in self._all(f"/v1/accounts/{record['volunteer']}/entries") if entry["source"] == source
        ]

    def settled(self, order: dict[str, Any], volunteer: str, state: str = "effective") -> dict[str, Any]:
        """The only hours record of the volunteer from this order, once it has the state."""

        def found() -> dict[str, Any] | None:
            records = self.hours(order, volunteer)
            assert len(records) <= 1
            return {**records[0], "volunteer": volunteer} if records and records[0]["state"] == state else None

        settled: dict[str, Any] = eventually(found, what=f"hours of {volunteer} are {state}")
        return settled

    def credited(self, order: dict[str, Any], volunteer: str) -> int:
        """Points of the volunteer's only award from this order, once it is there."""
        record = self.settled(order, volunteer)
        (award,) = eventually(lambda: self.awards(record), what=f"points of {volunteer}")
        amount: int = award["amount"]
        return amount

    def _all(self, path: str) -> list[dict[str, Any]]:
        items, cursor = [], ""
        while True:
            page = getattr(self.system.person("admin"), self._read)(f"{path}?limit=200{cursor}")
            items += page["items"]
            if page["next"] is None:
                return items
            cursor = f"&cursor={page['next']}"


def send_photo(
    person: Person, order: dict[str, Any], picture: bytes, kind: str = "image/jpeg", key: str | None = None
) -> httpx.Response:
    headers = {"Content-Type": kind}
    return person.request("POST", f"/v1/orders/{order['id']}/photos", key, content=picture, headers=headers)


def open_site(system: System, site: OpenSite) -> None:
    ask_registry(system, "open_sites", OpenSites(sites=[site]))


@contextmanager
def settings_of(system: System, code: str, **changed: Any) -> Iterator[None]:
    """Other settings of a site, as soon as dispatch knows of them, until the end of the block."""
    site = next(site for site in divisions.sites() if site.code == code)
    with MongoClient[dict[str, Any]](system.mongo_uri) as client:
        places = client[f"{system.prefix}dispatch"]["places"]

        def known(site: OpenSite) -> bool:
            wanted = {name: getattr(site, name) for name in changed}
            return places.find_one({"_id": code, **wanted}) is not None

        other = site.model_copy(update=changed)
        try:
            open_site(system, other)
            eventually(lambda: known(other), what="the setting has arrived")
            yield
        finally:
            open_site(system, site)
            eventually(lambda: known(site), what="the setting is gone again")


def ask_registry(system: System, method: str, command: Command | dict[str, Any]) -> None:
    """As the system itself does it: what has no route."""
    told = command.model_dump(mode="json") if isinstance(command, Command) else command
    arguments = {"actor": SYSTEM.model_dump(mode="json"), "command": told}
    with RpcClient(system.amqp_uri, "registry") as registry:
        registry.call(Call(method, arguments), 5)
