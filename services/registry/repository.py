"""The registry's aggregates, with the indexes of their queries."""

from collections.abc import Collection, Iterator
from datetime import date, datetime
from typing import TypeVar

from pymongo import ASCENDING, DESCENDING, IndexModel

from services.chassis.repository import (
    PAGE_LIMIT,
    Aggregate,
    Page,
    Repository,
    decode_cursor,
    encode_cursor,
)
from services.contracts.privacy import VIEWINGS_KEPT
from services.registry.directory import Kind, Listing, listing_id, place_of, search_terms, terms_of
from services.registry.domain import Account, Release, Resident, ServiceItem, Site, VolunteerTotals
from services.registry.imports import KEPT, Batch, Import, batch_id
from services.registry.notifications import KEPT as NOTIFICATIONS_KEPT
from services.registry.notifications import Notification, Preferences, SmsState
from services.registry.records.record import Record, RecordEntry, met_as, naming
from services.registry.teams import MemberState, Team, TeamState
from services.registry.volunteers import Entry, RealName, Viewing, Volunteer

A = TypeVar("A", bound=Aggregate)
BY_ID = ("_id", ASCENDING)
BATCHES_AT_ONCE = 2


class Counted(Repository[A]):
    def count(self) -> int:
        """From the collection's metadata, so it costs the same however many there are."""
        return self._documents.estimated_document_count()


class Sites(Counted[Site]):
    collection = "sites"
    aggregate = Site
    publishes = True
    indexes = (
        IndexModel([("parent", ASCENDING), BY_ID]),
        IndexModel([("tier", ASCENDING), BY_ID]),
    )

    def listed(self, parent: str | None, tier: str | None, limit: int, cursor: str | None) -> Page[Site]:
        """Those with a post, by code."""
        wanted = {name: value for name, value in (("parent", parent), ("tier", tier)) if value}
        return self.page({**wanted, "has_post": True}, limit, cursor, newest_first=False)


class Teams(Counted[Team]):
    collection = "teams"
    aggregate = Team
    publishes = True
    indexes = (
        IndexModel([("site", ASCENDING), BY_ID]),
        IndexModel([("member_ids", ASCENDING), BY_ID]),
        IndexModel([("outsiders.volunteer", ASCENDING)], sparse=True),
    )

    def at(self, site: str) -> list[Team]:
        """Those that staff have approved, and that are there still."""
        return [team for team in self.select({"site": site}, [BY_ID]) if team.is_approved]

    def called(self, names: Collection[str], sites: Collection[str]) -> list[Team]:
        """Those at the sites that have one of the names, and that are there still."""
        found = self.select({"site": {"$in": list(sites)}}, [BY_ID])
        return [team for team in found if team.name in names and not team.is_gone]

    def proposed_at(self, site: str) -> list[Team]:
        return self.select({"site": site, "state": TeamState.PROPOSED}, [BY_ID])

    def inviting(self, volunteer_id: str) -> list[Team]:
        invited = {"volunteer": volunteer_id, "state": MemberState.INVITED}
        return self.select({"outsiders.volunteer": volunteer_id, "outsiders": {"$elemMatch": invited}}, [BY_ID])

    def with_member(self, volunteer_id: str | None) -> list[Team]:
        found = self.select({"member_ids": volunteer_id}, [BY_ID]) if volunteer_id else []
        return [team for team in found if not team.is_gone]

    def members_among(self, volunteer_ids: Collection[str]) -> set[str]:
        found = self.select({"member_ids": {"$in": list(volunteer_ids)}})
        return {id for team in found if not team.is_gone for id in team.member_ids}


class ServiceItems(Counted[ServiceItem]):
    collection = "items"
    aggregate = ServiceItem
    publishes = True
    indexes = (IndexModel([("site", ASCENDING), BY_ID]),)

    def orderable_at(self, site: Site, limit: int, cursor: str | None) -> Page[ServiceItem]:
        return self.page(
            {"site": {"$in": site.path}, "active": {"$in": [True, None]}}, limit, cursor, newest_first=False
        )


class Volunteers(Repository[Volunteer]):
    collection = "volunteers"
    aggregate = Volunteer
    publishes = True
    indexes = (
        IndexModel([("id_number_index", ASCENDING)], unique=True),
        IndexModel([("phone_index", ASCENDING), BY_ID], partialFilterExpression={"phone_index": {"$gt": ""}}),
        IndexModel([("site", ASCENDING), BY_ID], partialFilterExpression={"real_name": "pending"}),
        IndexModel([("band_ends_on", ASCENDING)], partialFilterExpression={"band_ends_on": {"$type": "string"}}),
    )

    def with_id_number(self, index: str) -> Volunteer | None:
        return next(iter(self.select({"id_number_index": index}, limit=1)), None)

    def with_phone(self, index: str) -> list[Volunteer]:
        """A family or a school may share one; more than a page do not."""
        return self.select({"phone_index": index}, [BY_ID], PAGE_LIMIT)

    def with_id_numbers(self, indexes: Collection[str]) -> list[Volunteer]:
        return self.select({"id_number_index": {"$in": list(indexes)}})

    def to_check_at(self, site: str, limit: int) -> tuple[int, list[str]]:
        """How many wait for their real-name check, and the first of them."""
        query = {"site": site, "real_name": RealName.PENDING}
        found = self._documents.find(query, {"_id": 1}, sort=[BY_ID], limit=limit)
        return self._documents.count_documents(query), [document["_id"] for document in found]

    def with_band_ending(self, today: date, limit: int) -> list[Volunteer]:
        """Days are kept as text, which sorts as they do."""
        query = {"band_ends_on": {"$type": "string", "$lte": today.isoformat()}}
        return self.select(query, [("band_ends_on", ASCENDING)], limit)


class Directory(Repository[Listing]):
    collection = "directory"
    aggregate = Listing
    indexes = (IndexModel([("terms", ASCENDING), ("place", ASCENDING), BY_ID]),)

    def put(self, kind: Kind, id: str, place: str, terms: list[int]) -> None:
        """Nothing is written of what is there already."""
        listing = self.find_or_new(listing_id(kind, id), lambda: Listing(listing_id(kind, id)))
        if listing.bring_to(place, terms):
            self.save(listing)

    def list_volunteer(self, volunteer: Volunteer, site: Site) -> None:
        terms = [] if volunteer.erased else terms_of(Kind.VOLUNTEER, volunteer.name, volunteer.skills)
        self.put(Kind.VOLUNTEER, volunteer.id, place_of(site), terms)

    def list_new_volunteer(self, volunteer: Volunteer, site: Site) -> None:
        """Without a look whether there is a listing already."""
        terms = terms_of(Kind.VOLUNTEER, volunteer.name, volunteer.skills)
        self.add(Listing(listing_id(Kind.VOLUNTEER, volunteer.id), place_of(site), terms))

    def look_up(self, kind: Kind, ids: Collection[str]) -> None:
        """At once, before each is listed."""
        self.find_many([listing_id(kind, id) for id in ids])

    def list_team(self, team: Team, site: Site) -> None:
        """Those that are there: approved, and not dissolved."""
        terms = terms_of(Kind.TEAM, team.name, team.categories) if team.is_approved else []
        self.put(Kind.TEAM, team.id, place_of(site), terms)

    def found(
        self, kind: Kind, place: str, terms: list[int], limit: int, cursor: str | None
    ) -> tuple[list[str], str | None]:
        """Ids of what has all the terms, at the place and below it, by place; and the cursor of the next page."""
        limit = max(1, min(limit, PAGE_LIMIT))
        at, slash, id = decode_cursor(cursor).rpartition("/") if cursor else ("", "", "")
        past = [{"place": {"$gt": at + slash}}, {"place": at + slash, "_id": {"$gt": id}}]
        below = {"$gte": max(place, at + slash), "$lt": place[:-1] + chr(ord(place[-1]) + 1)}
        query = {"terms": {"$all": terms}, "place": below, "$or": past}
        found = list(self._documents.find(query, {"place": 1}, sort=[("place", ASCENDING), BY_ID], limit=limit + 1))
        last = found[limit - 1] if len(found) > limit else None
        ids = [listing["_id"].removeprefix(listing_id(kind, "")) for listing in found[:limit]]
        return ids, encode_cursor(last["place"] + last["_id"]) if last else None

    def has_any_at(self, kind: Kind, place: str) -> bool:
        (everybody,) = search_terms(kind, None)
        return bool(self.select({"terms": everybody, "place": place}, limit=1))


class Log(Repository[Entry]):
    collection = "volunteer_log"
    aggregate = Entry
    indexes = (IndexModel([("volunteer_id", ASCENDING), ("_id", ASCENDING)]),)

    def of(self, volunteer_id: str, limit: int, cursor: str | None) -> Page[Entry]:
        """Newest first."""
        return self.page({"volunteer_id": volunteer_id}, limit, cursor)

    def whole(self, volunteer_id: str) -> list[Entry]:
        return self.select({"volunteer_id": volunteer_id})


class Viewings(Repository[Viewing]):
    collection = "volunteer_views"
    aggregate = Viewing
    indexes = (
        IndexModel([("volunteers", ASCENDING), BY_ID]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=VIEWINGS_KEPT),
    )

    def of(self, volunteer_id: str, limit: int, cursor: str | None) -> Page[Viewing]:
        """Newest first."""
        return self.page({"volunteers": volunteer_id}, limit, cursor)


class Residents(Counted[Resident]):
    collection = "residents"
    aggregate = Resident
    publishes = True


class Accounts(Counted[Account]):
    collection = "accounts"
    aggregate = Account
    indexes = (
        IndexModel([("kind", ASCENDING), ("username", ASCENDING)], unique=True),
        IndexModel([("site", ASCENDING)]),
    )

    def named(self, kind: str, username: str) -> Account | None:
        return next(iter(self.select({"kind": kind, "username": username}, limit=1)), None)

    def has_any_at(self, site: str) -> bool:
        """Residents and staff have accounts, all at one site."""
        return bool(self.select({"site": site}, limit=1))


class Totals(Repository[VolunteerTotals]):
    collection = "totals"
    aggregate = VolunteerTotals

    def of(self, volunteer_id: str) -> VolunteerTotals:
        """Nothing yet is zero: facts may arrive before the volunteer does."""
        return self.find_or_new(volunteer_id, lambda: VolunteerTotals(volunteer_id))


class Releases(Repository[Release]):
    collection = "releases"
    aggregate = Release


class Imports(Repository[Import]):
    collection = "imports"
    aggregate = Import
    indexes = (IndexModel([("moving", ASCENDING), BY_ID], partialFilterExpression={"moving": True}),)

    def moving(self, limit: int) -> list[str]:
        found = self._documents.find({"moving": True}, {"_id": 1}, sort=[BY_ID], limit=limit)
        return [document["_id"] for document in found]


class Batches(Repository[Batch]):
    collection = "import_rows"
    aggregate = Batch
    indexes = (
        IndexModel([("import_id", ASCENDING), ("keys", ASCENDING)]),
        IndexModel([("staged_at", ASCENDING)], expireAfterSeconds=int(KEPT.total_seconds())),
    )

    def rows_by_key(self, import_id: str, keys: Collection[str]) -> dict[str, int]:
        """Of what is staged already, the number of the first row that has each of the keys."""
        query = {"import_id": import_id, "keys": {"$in": list(keys)}}
        found = self._documents.find(query, {"keys": 1, "numbers": 1}, sort=[("_id", -1)])
        return {
            key: row
            for batch in found
            for key, row in reversed(list(zip(batch["keys"], batch["numbers"], strict=True)))
        }

    def next(self, import_id: str, row: int) -> Batch | None:
        """The first that begins after a row."""
        return next(iter(self.select(_after(import_id, row), [BY_ID], limit=1)), None)

    def following(self, import_id: str, row: int, only_wrong: bool) -> Iterator[Batch]:
        """All that begin after a row, in the order of the rows."""
        query = _after(import_id, row) | ({"is_wrong": True} if only_wrong else {})
        for document in self._documents.find(query, self.shown, sort=[BY_ID], batch_size=BATCHES_AT_ONCE):
            yield self.take(document)


def _after(import_id: str, row: int) -> dict[str, object]:
    return {"_id": {"$gt": batch_id(import_id, row), "$lt": import_id + ";"}}


class Records(Repository[Record]):
    collection = "records"
    aggregate = Record
    publishes = True
    indexes = (
        IndexModel([("kind", ASCENDING), ("terms", ASCENDING), BY_ID]),
        IndexModel([("unique", ASCENDING)], unique=True, partialFilterExpression={"unique": {"$gt": ""}}),
    )

    def listed(self, kind: str, terms: list[list[str]], limit: int, cursor: str | None) -> Page[Record]:
        """With one of each of the terms, newest first."""
        return self.page({"kind": kind, "$and": [{"terms": {"$in": one}} for one in terms]}, limit, cursor)

    def meeting(self, kind: str, meets: str) -> list[Record]:
        return self.select({"kind": kind, "terms": met_as(meets)}) if meets else []

    def of_account(self, kind: str, account_id: str) -> list[Record]:
        return self.select({"kind": kind, "terms": naming(account_id)})

    def holding(self, unique: str) -> Record | None:
        return next(iter(self.select({"unique": unique}, limit=1)), None) if unique else None


class RecordLog(Repository[RecordEntry]):
    collection = "record_log"
    aggregate = RecordEntry
    indexes = (IndexModel([("record_id", ASCENDING), BY_ID]),)

    def of(self, record_id: str, limit: int, cursor: str | None) -> Page[RecordEntry]:
        """Newest first."""
        return self.page({"record_id": record_id}, limit, cursor)

    def whole(self, record_id: str) -> list[RecordEntry]:
        return self.select({"record_id": record_id})


class Notifications(Repository[Notification]):
    collection = "notifications"
    aggregate = Notification
    unknown = "没有这条通知"
    indexes = (
        IndexModel([("account", ASCENDING), BY_ID]),
        IndexModel([("account", ASCENDING), ("read_at", ASCENDING), BY_ID]),
        IndexModel([("sms.due_at", ASCENDING)], partialFilterExpression={"sms.state": SmsState.WAITING.value}),
        IndexModel(
            [("sms.number", ASCENDING), ("sms.day", ASCENDING)], partialFilterExpression={"sms.number": {"$gt": ""}}
        ),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=int(NOTIFICATIONS_KEPT.total_seconds())),
    )

    def of(self, account: str, unread: bool, limit: int, cursor: str | None) -> Page[Notification]:
        """Newest first."""
        return self.page({"account": account} | ({"read_at": None} if unread else {}), limit, cursor)

    def unread(self, account: str, most: int) -> int:
        return self._documents.count_documents({"account": account, "read_at": None}, limit=most)

    def unread_up_to(self, account: str, id: str, limit: int) -> list[Notification]:
        """Newest first."""
        query = {"account": account, "read_at": None, "_id": {"$lte": id}}
        return self.select(query, [("_id", DESCENDING)], limit)

    def whole(self, account: str) -> list[Notification]:
        return self.select({"account": account})

    def with_sms_due(self, time: datetime, limit: int) -> list[Notification]:
        query = {"sms.state": SmsState.WAITING, "sms.due_at": {"$lte": time}}
        return self.select(query, [("sms.due_at", ASCENDING)], limit)

    def with_sms_waiting(self) -> int:
        query = {"sms.state": SmsState.WAITING, "sms.due_at": {"$type": "date"}}
        return self._documents.count_documents(query)

    def sms_sent(self, number: str, day: str, most: int) -> int:
        return self._documents.count_documents({"sms.number": number, "sms.day": day}, limit=most)


class AllPreferences(Repository[Preferences]):
    collection = "notification_preferences"
    aggregate = Preferences

    def of(self, account: str) -> Preferences:
        return self.find_or_new(account, lambda: Preferences(account))
