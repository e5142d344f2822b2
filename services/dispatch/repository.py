"""Orders and what dispatch knows of the registry, with the indexes of their queries."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel
from ulid import ULID

from services.chassis.repository import INTERNAL, OF, Document, Page, Repository, from_document, united
from services.contracts.actor import Actor, Role
from services.contracts.privacy import VIEWINGS_KEPT
from services.dispatch.cases import UNKNOWN as UNKNOWN_CASE
from services.dispatch.cases import Case
from services.dispatch.domain import FINAL, TRANSITIONS, UNKNOWN, Message, Note, Order, State
from services.dispatch.inbox import ASKING, IN_A_POOL, OF_A_TEAM, Query, claimable
from services.dispatch.known import Household, Item, Place, Resident, Team, Volunteer
from services.dispatch.matching import RuleBook, Task
from services.dispatch.photos import Photo
from services.dispatch.quality import Figures, Life, Period
from services.dispatch.series import UNKNOWN as UNKNOWN_SERIES
from services.dispatch.series import Series
from services.dispatch.support import UNKNOWN as UNKNOWN_SUPPORT
from services.dispatch.support import SupportRequest
from services.dispatch.viewings import Viewing

NEWEST = ("_id", DESCENDING)
BY_ID = ("_id", ASCENDING)
RUNNING = list(OF_A_TEAM.values())
NOT_ENDED = [state for state in State if state not in FINAL]
MOST_SIMILAR = 5
MOST_NEAR = 20
HAS_JOINED = {"joined.0": {"$exists": True}}


class Orders(Repository[Order]):
    collection = "orders"
    aggregate = Order
    publishes = True
    unknown = UNKNOWN
    indexes = (
        # Only what waits for the clock is in it, so a tick costs what is due and not what is pending.
        IndexModel([("due_at", ASCENDING)], partialFilterExpression={"due_at": {"$type": "date"}}),
        IndexModel([("path", ASCENDING), ("state", ASCENDING), NEWEST]),
        IndexModel([("resident_id", ASCENDING), NEWEST]),
        IndexModel([("placed_by", ASCENDING), NEWEST]),
        IndexModel([("offers.team", ASCENDING), NEWEST]),
        IndexModel([("wave_at", ASCENDING)], partialFilterExpression={"wave_at": {"$type": "date"}}),
        IndexModel([("uncounted_since", ASCENDING)], partialFilterExpression={"uncounted_since": {"$type": "date"}}),
        IndexModel([("pool_at", ASCENDING), NEWEST], partialFilterExpression=IN_A_POOL),
        IndexModel([("joined", ASCENDING), NEWEST], partialFilterExpression=HAS_JOINED),
        # What nobody has to do anything with any more is in none of these two.
        IndexModel(
            [("holder.id", ASCENDING), ("state", ASCENDING), NEWEST],
            partialFilterExpression={"holder.id": {"$exists": True}},
        ),
        IndexModel([("offers.team", ASCENDING)], partialFilterExpression={"state": {"$in": ASKING}}),
        # An order that goes on is moved in as few indexes as can be.
        IndexModel(
            [("accepted_by", ASCENDING), ("target_group", ASCENDING), ("placed_at", ASCENDING)],
            partialFilterExpression={"state": "closed"},
        ),
        IndexModel(
            [("path", ASCENDING), ("preferred_from", ASCENDING)],
            partialFilterExpression={"preferred_from": {"$type": "date"}},
        ),
    )

    def due(self, now: datetime, limit: int) -> list[Order]:
        return self.select({"due_at": {"$type": "date", "$lte": now}}, [("due_at", ASCENDING)], limit)

    def with_wave_due(self, now: datetime, limit: int) -> list[Order]:
        return self.select({"wave_at": {"$type": "date", "$lte": now}}, [("wave_at", ASCENDING)], limit)

    def running(self, team: str) -> list[Order]:
        """What the team has accepted and not completed."""
        return self.select(_running([team]))

    def tasks(self, teams: list[str]) -> list[Task]:
        """What the teams have accepted and not completed."""
        shown = {"accepted_by": 1, "volunteers": 1, "preferred_from": 1, "preferred_to": 1}
        return [
            Task(found["accepted_by"], found["volunteers"], found["preferred_from"], found["preferred_to"])
            for found in self._documents.find(_running(teams), shown)
        ]

    def served(self, teams: list[str], target_group: str, since: datetime) -> dict[str, int]:
        """How many orders of a target group each team has closed."""
        query = {
            "accepted_by": {"$in": teams}, "state": "closed", "target_group": target_group,
            "placed_at": {"$gte": since},
        }  # fmt: skip
        groups = {"$group": {"_id": "$accepted_by", "count": {"$sum": 1}}}
        return {group["_id"]: group["count"] for group in self._documents.aggregate([{"$match": query}, groups])}

    def unmet_for(self, team: Team, limit: int) -> list[Order]:
        """Unmet demand that the team might serve and was not asked for, oldest first."""
        query = {"path": team.site, "state": "unmet", "category": {"$in": team.categories}}
        return self.select({**query, "offers.team": {"$ne": team.id}}, [("_id", ASCENDING)], limit)

    def similar(self, resident: str, item: str, since: datetime) -> list[str]:
        """Ids, newest first; an order of a series is none: it comes again on purpose."""
        query = {
            "resident_id": resident, "_id": {"$gte": str(ULID.from_datetime(since))}, "item_id": item,
            "state": {"$nin": ["cancelled", "rejected"]}, "series": None,
        }  # fmt: skip
        return [found["_id"] for found in self._documents.find(query, {"_id": 1}, sort=[NEWEST], limit=MOST_SIMILAR)]

    def near(self, site: str, item: str, since: datetime) -> list[Order]:
        """What people of a place wait for, newest first."""
        query = {
            "path": site, "state": {"$in": list(TRANSITIONS["join"])}, "site": site, "item_id": item,
            "_id": {"$gte": str(ULID.from_datetime(since))},
        }  # fmt: skip
        return self.select(query, [NEWEST], MOST_NEAR)

    def joined_by(self, resident: str, limit: int, cursor: str | None) -> Page[Order]:
        return self.page({"joined": resident, **HAS_JOINED}, limit, cursor)

    def waiting(self, matters: Mapping[str, Query]) -> dict[str, Document]:
        """How many orders each of the queries finds, how many of them are urgent, and the first deadline."""
        count = {"$group": {
            "_id": None, "count": {"$sum": 1}, "urgent": {"$sum": {"$toInt": "$urgent"}}, "due_at": {"$min": "$due_at"},
        }}  # fmt: skip
        if not matters:
            return {}
        parts = {name: (self.collection, [{"$match": query}, count]) for name, query in matters.items()}
        _, pipeline = united(parts)
        return {found.pop(OF): found for found in self._documents.aggregate(pipeline)}

    def demand(self, site: str) -> list[dict[str, Any]]:
        """How many orders are unmet, and of how many people, by place and category, at the site and below it."""
        people = {"$sum": {"$add": [1, {"$size": {"$ifNull": ["$joined", []]}}]}}
        groups = {"_id": {"site": "$site", "category": "$category"}, "count": {"$sum": 1}, "people": people}
        found = self._documents.aggregate([{"$match": {"path": site, "state": "unmet"}}, {"$group": groups}])
        rows = [{**group.pop("_id"), **group} for group in found]
        return sorted(rows, key=lambda row: (-row["count"], row["site"], row["category"]))

    def visible(
        self, actor: Actor, teams: Iterable[Team], wanted: dict[str, Any], limit: int, cursor: str | None
    ) -> Page[Order]:
        """What the actor may read; ``wanted`` narrows it."""
        return self.page(_within(_scope(actor, teams), wanted), limit, cursor)

    def of_day(
        self, actor: Actor, teams: Iterable[Team], site: str, begin: datetime, end: datetime, limit: int
    ) -> list[Order]:
        """What takes place then at a site and below it, and the actor may read; by time."""
        then = {"$type": "date", "$gte": begin, "$lt": end}
        wanted = {"path": site, "preferred_from": then, "state": {"$nin": ["cancelled", "rejected"]}}
        query = _within(_scope(actor, teams), wanted)
        return self.select(query, [("preferred_from", ASCENDING), ("_id", ASCENDING)], limit)


class AllSeries(Repository[Series]):
    collection = "series"
    aggregate = Series
    unknown = UNKNOWN_SERIES
    indexes = (
        # Only what becomes an order some day is in it.
        IndexModel([("next_at", ASCENDING)], partialFilterExpression={"next_at": {"$type": "date"}}),
        IndexModel([("path", ASCENDING), NEWEST]),
        IndexModel([("resident_id", ASCENDING), NEWEST]),
        IndexModel([("placed_by", ASCENDING), NEWEST]),
    )

    def due(self, now: datetime, limit: int) -> list[str]:
        """Ids, those that wait the longest first."""
        query = {"next_at": {"$type": "date", "$lte": now}}
        found = self._documents.find(query, {"_id": 1}, limit=limit).sort([("next_at", ASCENDING)])
        return [document["_id"] for document in found]

    def running_of(self, resident: str, limit: int) -> int:
        query = {"resident_id": resident, "next_at": {"$type": "date"}}
        return self._documents.count_documents(query, limit=limit)

    def visible(self, actor: Actor, wanted: dict[str, Any], limit: int, cursor: str | None) -> Page[Series]:
        """What the actor may read; ``wanted`` narrows it."""
        return self.page(_within(_scope(actor), wanted), limit, cursor)


def _running(teams: list[str]) -> dict[str, Any]:
    return {"holder.id": {"$in": teams}, "state": {"$in": RUNNING}}


def _scope(actor: Actor, teams: Iterable[Team] = ()) -> list[dict[str, Any]]:
    """The ways in which the actor may know of something; none: of everything."""
    if actor.is_admin:
        return []
    scope: list[dict[str, Any]] = [{"resident_id": actor.id}, {"placed_by": actor.id}]
    if actor.has(Role.STAFF):
        scope.append({"path": actor.site})
    if own := list(teams):
        scope.append({"offers.team": {"$in": [team.id for team in own]}})
        scope += [claimable(team) for team in own if team.active]
    return scope


def _asked_or_below(actor: Actor, asker: str) -> list[dict[str, Any]]:
    """The ways to see what somebody has asked for: to be the ``asker``, or staff of its place or above."""
    if actor.is_admin:
        return []
    below = [{"path": actor.site}] if actor.has(Role.STAFF) else []
    return [{asker: actor.id}, *below]


def _waiting(documents: Any, query: dict[str, Any]) -> dict[str, Any]:
    """How many, how many of them urgent, and the first deadline."""
    urgent = {"$sum": {"$cond": ["$urgent", 1, 0]}}
    count = {"$group": {"_id": None, "count": {"$sum": 1}, "urgent": urgent, "due_at": {"$min": "$due_at"}}}
    return next(documents.aggregate([{"$match": query}, count]), {})


def _within(scope: list[dict[str, Any]], wanted: dict[str, Any]) -> dict[str, Any]:
    return {"$and": [{"$or": scope}, wanted]} if scope else wanted


class Messages(Repository[Message]):
    collection = "messages"
    aggregate = Message
    indexes = (IndexModel([("order_id", ASCENDING), ("_id", ASCENDING)]),)

    def of(self, order_id: str, limit: int, cursor: str | None) -> Page[Message]:
        """Oldest first."""
        return self.page({"order_id": order_id}, limit, cursor, newest_first=False)


class Notes(Repository[Note]):
    collection = "notes"
    aggregate = Note
    indexes = (IndexModel([("order_id", ASCENDING), ("_id", ASCENDING)]),)

    def of(self, order_id: str, limit: int, cursor: str | None) -> Page[Note]:
        """Oldest first."""
        return self.page({"order_id": order_id}, limit, cursor, newest_first=False)


class Photos(Repository[Photo]):
    """A ``PhotoStore`` in the database of the service."""

    collection = "photos"
    aggregate = Photo

    def listed(self, ids: Iterable[str]) -> list[Photo]:
        found = self._documents.find({"_id": {"$in": list(ids)}}, {**INTERNAL, "data": 0}, sort=[("_id", ASCENDING)])
        return [from_document(Photo, document) for document in found]


CASE_STATES: dict[str, dict[str, Any]] = {
    "waiting": {"is_open": True},
    "open": {"is_open": True, "taken_by": None},
    "taken": {"is_open": True, "taken_by": {"$type": "string"}},
    "settled": {"is_open": False},
}


class Cases(Repository[Case]):
    collection = "cases"
    aggregate = Case
    publishes = True
    unknown = UNKNOWN_CASE
    indexes = (
        IndexModel([("path", ASCENDING), ("is_open", ASCENDING), NEWEST]),
        IndexModel([("opened_by", ASCENDING), NEWEST]),
        IndexModel([("site", ASCENDING)], partialFilterExpression={"is_open": True}),
    )

    def visible(self, actor: Actor, wanted: dict[str, Any], limit: int, cursor: str | None) -> Page[Case]:
        """What the actor may read; ``wanted`` narrows it."""
        return self.page(_within(_asked_or_below(actor, "opened_by"), wanted), limit, cursor)

    def waiting_at(self, site: str) -> dict[str, Any]:
        return _waiting(self._documents, {"site": site, "is_open": True})


class SupportRequests(Repository[SupportRequest]):
    collection = "support_requests"
    aggregate = SupportRequest
    publishes = True
    unknown = UNKNOWN_SUPPORT
    indexes = (
        IndexModel([("path", ASCENDING), ("state", ASCENDING), NEWEST]),
        IndexModel([("asked_by", ASCENDING), NEWEST]),
        IndexModel(
            [("center", ASCENDING), ("due_at", ASCENDING)], partialFilterExpression={"due_at": {"$type": "date"}}
        ),
    )

    def visible(self, actor: Actor, wanted: dict[str, Any], limit: int, cursor: str | None) -> Page[SupportRequest]:
        """What the actor may read; ``wanted`` narrows it."""
        return self.page(_within(_asked_or_below(actor, "asked_by"), wanted), limit, cursor)

    def waiting_at(self, center: str) -> dict[str, Any]:
        return _waiting(self._documents, {"center": center, "due_at": {"$type": "date"}})


class Teams(Repository[Team]):
    collection = "teams"
    aggregate = Team
    indexes = (IndexModel([("site", ASCENDING)]), IndexModel([("member_ids", ASCENDING)]))

    def at(self, sites: Iterable[str]) -> list[Team]:
        return self.select({"site": {"$in": list(sites)}})

    def with_member(self, volunteer: str) -> list[Team]:
        return self.select({"member_ids": volunteer})

    def of(self, actor: Actor) -> list[Team]:
        return self.with_member(actor.volunteer) if actor.volunteer else []


class Places(Repository[Place]):
    collection = "places"
    aggregate = Place


class Items(Repository[Item]):
    collection = "items"
    aggregate = Item


class Residents(Repository[Resident]):
    collection = "residents"
    aggregate = Resident


class Viewings(Repository[Viewing]):
    collection = "order_views"
    aggregate = Viewing
    indexes = (
        IndexModel([("orders", ASCENDING), BY_ID]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=VIEWINGS_KEPT),
    )

    def of(self, order_id: str, limit: int, cursor: str | None) -> Page[Viewing]:
        """Newest first."""
        return self.page({"orders": order_id}, limit, cursor)


class Households(Repository[Household]):
    collection = "households"
    aggregate = Household
    indexes = (IndexModel([("proxies", ASCENDING)]),)

    def let_order(self, proxy: str, beneficiary: Resident) -> bool:
        wanted = {"proxies": proxy, "members": beneficiary.id, "site": beneficiary.site}
        return bool(self.select(wanted, limit=1))


class Volunteers(Repository[Volunteer]):
    collection = "volunteers"
    aggregate = Volunteer

    def restricted(self, ids: Iterable[str]) -> dict[str, Volunteer]:
        """To be looked at: whom something of their own may keep from going, whatever an order asks."""
        return self.read_many(
            ids, {"$or": [{"suspended": True}, {"absences": {"$ne": []}}, {"availability": {"$ne": []}}]}
        )


class Rules(Repository[RuleBook]):
    collection = "rules"
    aggregate = RuleBook

    def of(self, county: str) -> RuleBook:
        """None published yet is an empty book."""
        return self.find_or_new(county, lambda: RuleBook(county))


FOR_FIGURES = {
    name: 1
    for name in (
        "item_id", "path", "placed_at", "timeline.event", "timeline.time", "score", "rated_by", "uncounted_since",
        "version",
    )
}  # fmt: skip


class Lives(Repository[Life]):
    """Orders, as far as figures need them; not together with the whole ones in a unit of work."""

    collection = Orders.collection
    aggregate = Life
    shown = FOR_FIGURES

    def uncounted(self, before: datetime, limit: int) -> list[Life]:
        query = {"uncounted_since": {"$type": "date", "$lte": before}}
        return self.select(query, [("uncounted_since", ASCENDING)], limit)


class AllFigures(Repository[Figures]):
    collection = "figures"
    aggregate = Figures
    indexes = (IndexModel([("site", ASCENDING), ("month", ASCENDING)]),)

    def of(self, id: str) -> Figures:
        """None counted yet are empty ones."""
        return self.find_or_new(id, lambda: Figures.none_yet(id))

    def at(self, site: str, period: Period) -> tuple[list[Figures], list[Life]]:
        """What is kept of a place, and the orders that are not in it yet: as of one moment, since the clock moves
        orders from one to the other.
        """
        placed = {"path": site, "placed_at": {"$gte": period.begin, "$lt": period.end}}
        shown = {"$project": FOR_FIGURES}
        months = {"site": site, "month": {"$gte": period.first, "$lte": period.last}}
        parts: dict[str, tuple[str, list[Document]]] = {
            "kept": (self.collection, [{"$match": months}]),
            "running": (Lives.collection, [{"$match": {**placed, "state": {"$in": NOT_ENDED}}}, shown]),
            "ended": (Lives.collection, [{"$match": {**placed, "uncounted_since": {"$type": "date"}}}, shown]),
        }
        _, pipeline = united(parts)
        kept, lives = list[Figures](), list[Life]()
        with self._work.database.client.start_session(snapshot=True) as session:
            for document in self._documents.aggregate(pipeline, session=session):
                if document.pop(OF) == "kept":
                    kept.append(from_document(Figures, document))
                else:
                    lives.append(from_document(Life, document))
        return kept, lives
