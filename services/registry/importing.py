"""What an import looks up, makes and takes back; each kind of rows says how, and nothing of files.

Whatever rows need to know is asked once for all rows of a batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, ClassVar, TypeVar

from ulid import ULID

from services.chassis.messages import Event
from services.chassis.personal import blind_index
from services.contracts.actor import Actor
from services.contracts.errors import Conflict, ServiceError, invalid
from services.contracts.imports import TIERS, ImportKind
from services.contracts.registry import FormTeam, OpenSite, PublishItem, RegisterVolunteer
from services.registry import identity
from services.registry.directory import Kind, place_of
from services.registry.domain import ServiceItem, Site, bring_to
from services.registry.imports import EVERYTHING, Batch, Import, Made, State, TeamRow, Wrong, made_id
from services.registry.teams import Team
from services.registry.volunteers import ALREADY_REGISTERED, Entry, Numbers, Volunteer, must_be_asked_rightly

OUT_OF_PLACE = "不在这次导入的站点范围内，请填本站点或下级站点的代码"
NO_PARENT = "没有这个上级站点，或不在这次导入的站点范围内；同一文件里的上级要先单独导入"
CHANGED, IN_A_TEAM, HAS_SERVED = "资料后来有改动，没有撤销", "后来加入了队伍，没有撤销", "已有服务时长或积分，没有撤销"
HAS_SITES, HAS_ACCOUNTS = "已有下级站点，没有撤销", "已有居民或工作人员的账号，没有撤销"
HAS_PEOPLE = "已有志愿者或队伍，没有撤销"

A = TypeVar("A")
Cells = Iterable[tuple[int, Sequence[str]]]


class Rows(ABC):
    """A kind of rows, within the place of an import."""

    twin: ClassVar[tuple[str, str]]
    """The field of the key, and what is said of a second one."""

    def __init__(self, uow: Any, of: Import, place: Site, today: date) -> None:
        self._uow, self._of, self._place, self._today = uow, of, place, today

    @abstractmethod
    def key(self, wanted: Any) -> str:
        """What makes the row one of a kind; ``twin`` tells where a row has the same."""

    @abstractmethod
    def look_up(self, wanted: Mapping[str, Any]) -> None:
        """All that is asked of ``wanted``, which is given by key."""

    def check(self, id: str, wanted: Any, key: str) -> Any:
        """Raise ``ServiceError`` when it cannot be made."""
        return self.make(id, wanted, key)

    @abstractmethod
    def make(self, id: str, wanted: Any, key: str) -> tuple[Any, Event]:
        """Without saving it; raise ``ServiceError``."""

    @abstractmethod
    def save(self, made: Any, event: Event, at: datetime) -> Any:
        """What is there now."""

    @abstractmethod
    def take_back(self, made: Sequence[Made], at: datetime) -> Iterator[Wrong]:
        """All that nothing has happened to; told of the others is why not."""


class VolunteerRows(Rows):
    twin = ("id_number", "与第 {} 行的身份证号相同")

    def key(self, wanted: RegisterVolunteer) -> str:
        return blind_index(wanted.id_number)

    def look_up(self, wanted: Mapping[str, RegisterVolunteer]) -> None:
        self._sites = _sites(self._uow, self._place, wanted.values())
        self._known = {volunteer.id_number_index for volunteer in self._uow.volunteers.with_id_numbers(wanted)}

    def check(self, id: str, wanted: RegisterVolunteer, key: str) -> Site:
        """All that ``make`` asks, without making anything: a file has many rows."""
        site = _site(self._sites, self._place, wanted.site)
        if key in self._known:
            raise invalid("id_number", ALREADY_REGISTERED)
        must_be_asked_rightly(identity.birth_date(wanted.id_number), self._today, wanted.guardian_consent)
        return site

    def make(self, id: str, wanted: RegisterVolunteer, key: str) -> tuple[Volunteer, Event]:
        site = self.check(id, wanted, key)
        numbers = Numbers(wanted.id_number, key, wanted.phone, blind_index(wanted.phone))
        return Volunteer.register(id, wanted, site, None, numbers, self._today)

    def save(self, made: Volunteer, event: Event, at: datetime) -> Volunteer:
        self._uow.volunteers.add(made, event)
        self._uow.directory.list_new_volunteer(made, self._sites[made.site])
        self._uow.log.add(Entry(str(ULID()), made.id, at, self._of.by, "consent", made.consents[0].in_words))
        return made

    def take_back(self, made: Sequence[Made], at: datetime) -> Iterator[Wrong]:
        """As who asks to be forgotten: what went out stays under an id that leads to nobody."""
        ids = [one.id for one in made]
        found, served = self._uow.volunteers.find_many(ids), self._uow.totals.read_many(ids)
        in_teams = self._uow.teams.members_among(ids)
        sites = self._uow.sites.read_many({volunteer.site for volunteer in found.values()})
        self._uow.directory.look_up(Kind.VOLUNTEER, ids)
        for one in made:
            volunteer = found[one.id]
            reasons = (
                (volunteer.version != one.version, CHANGED),
                (one.id in in_teams, IN_A_TEAM),
                (one.id in served, HAS_SERVED),
            )
            if why := next((why for is_so, why in reasons if is_so), None):
                yield Wrong(one.row, EVERYTHING, why)
                continue
            site = sites[volunteer.site]
            self._uow.volunteers.save(volunteer, *volunteer.erase((), site, self._today))
            self._uow.directory.list_volunteer(volunteer, site)
            self._uow.log.add(Entry(str(ULID()), one.id, at, self._of.by, "erased", ""))


class TeamRows(Rows):
    twin = ("name", "与第 {} 行是同一站点的同名队伍")

    def key(self, wanted: TeamRow) -> str:
        return f"{wanted.site or self._place.id} {wanted.name}"

    def look_up(self, wanted: Mapping[str, TeamRow]) -> None:
        rows = wanted.values()
        self._sites = _sites(self._uow, self._place, rows)
        self._taken = {
            f"{team.site} {team.name}" for team in self._uow.teams.called({row.name for row in rows}, self._sites)
        }
        people = {text for row in rows for text in (row.leader, *row.members)}
        numbers = {text: blind_index(number) for text in people if (number := _id_number(text, self._today))}
        found = self._uow.volunteers.with_id_numbers(numbers.values())
        by_index = {volunteer.id_number_index: volunteer for volunteer in found}
        known = self._uow.volunteers.read_many(people - numbers.keys())
        known |= {text: by_index[index] for text, index in numbers.items() if index in by_index}
        homes = self._uow.sites.read_many({volunteer.site for volunteer in known.values()})
        self._people = {
            text: volunteer for text, volunteer in known.items() if self._place.id in homes[volunteer.site].path
        }

    def make(self, id: str, wanted: TeamRow, key: str) -> tuple[Team, Event]:
        site = _site(self._sites, self._place, wanted.site)
        if key in self._taken:
            raise invalid("name", "这个站点已经有同名的队伍")
        leader = self._person("leader", wanted.leader)
        if leader.account_id == self._of.by:
            raise invalid("leader", "不能导入由自己担任队长的队伍，请由上级导入")
        members = [leader.id, *(self._person("members", text).id for text in wanted.members)]
        form = FormTeam(
            id=id, name=wanted.name, site=site.id, categories=wanted.categories, leader_id=leader.id,
            member_ids=members, kind=wanted.kind,
        )  # fmt: skip
        return Team.form(form, site, members)

    def save(self, made: Team, event: Event, at: datetime) -> Team:
        made.decided_by = self._of.by
        self._uow.teams.add(made, event)
        self._uow.directory.list_team(made, self._sites[made.site])
        return made

    def take_back(self, made: Sequence[Made], at: datetime) -> Iterator[Wrong]:
        found = self._uow.teams.find_many([one.id for one in made])
        sites = self._uow.sites.read_many({team.site for team in found.values()})
        for one in made:
            team = found[one.id]
            if team.version != one.version:
                yield Wrong(one.row, EVERYTHING, CHANGED)
                continue
            self._uow.teams.save(team, *team.decide("dissolve", Actor(id=self._of.by), "撤销导入"))
            self._uow.directory.list_team(team, sites[team.site])

    def _person(self, field: str, text: str) -> Volunteer:
        volunteer: Volunteer | None = self._people.get(text)
        if volunteer is None or volunteer.erased:
            raise invalid(field, "在这次导入的站点范围内没有这位志愿者，请填身份证号或志愿者编号")
        try:
            volunteer.must_serve()
        except Conflict as error:
            raise invalid(field, error.detail) from None
        return volunteer


class ItemRows(Rows):
    """Known by their codes; one that was withdrawn may come again."""

    twin = ("id", "与第 {} 行的项目编号相同")

    def key(self, wanted: PublishItem) -> str:
        return wanted.id

    def look_up(self, wanted: Mapping[str, PublishItem]) -> None:
        self._sites = _sites(self._uow, self._place, wanted.values())
        self._known: dict[str, ServiceItem] = self._uow.items.find_many(wanted)

    def make(self, id: str, wanted: PublishItem, key: str) -> tuple[ServiceItem, Event]:
        site = _site(self._sites, self._place, wanted.site)
        if key in self._known and self._known[key].active:
            raise invalid("id", "已经有这个编号的服务项目")
        return ServiceItem.publish(wanted, site)

    def save(self, made: ServiceItem, event: Event, at: datetime) -> ServiceItem:
        return _bring(self._uow.items, self._known.get(made.id), made, event)

    def take_back(self, made: Sequence[Made], at: datetime) -> Iterator[Wrong]:
        found = self._uow.items.find_many([one.id for one in made])
        for one in made:
            item = found[one.id]
            if item.version != one.version:
                yield Wrong(one.row, EVERYTHING, CHANGED)
                continue
            self._uow.items.save(item, item.withdraw())


class SiteRows(Rows):
    """Known by their codes. Taken back, the place remains without a post, as places are that have had none."""

    twin = ("code", "与第 {} 行的站点代码相同")

    def key(self, wanted: OpenSite) -> str:
        return wanted.code

    def look_up(self, wanted: Mapping[str, OpenSite]) -> None:
        self._known: dict[str, Site] = self._uow.sites.find_many(wanted)
        self._parents = self._uow.sites.read_many({row.parent for row in wanted.values() if row.parent})

    def make(self, id: str, wanted: OpenSite, key: str) -> tuple[Site, Event]:
        parent, known = self._parents.get(wanted.parent), self._known.get(key)
        if parent is None or self._place.id not in parent.path:
            raise invalid("parent", NO_PARENT)
        if known is not None and known.has_post:
            raise invalid("code", "已经有这个代码的站点")
        if known is not None and (known.tier, known.parent) != (wanted.tier, wanted.parent):
            raise invalid("code", f"这里已经登记为{TIERS[known.tier]}，上级是 {known.parent}，请核对层级和上级代码")
        return Site.open(wanted.model_copy(update={"kind": known.kind}) if known else wanted, parent)

    def save(self, made: Site, event: Event, at: datetime) -> Site:
        return _bring(self._uow.sites, self._known.get(made.id), made, event)

    def take_back(self, made: Sequence[Made], at: datetime) -> Iterator[Wrong]:
        found = self._uow.sites.find_many([one.id for one in made])
        for one in made:
            site = found[one.id]
            if why := self._kept_for(site, one):
                yield Wrong(one.row, EVERYTHING, why)
                continue
            self._uow.sites.save(site, site.give_up_post())

    def _kept_for(self, site: Site, made: Made) -> str | None:
        if site.version != made.version:
            return CHANGED
        if self._uow.sites.listed(site.id, None, 1, None).items:
            return HAS_SITES
        if self._uow.accounts.has_any_at(site.id):
            return HAS_ACCOUNTS
        place = place_of(site)
        return HAS_PEOPLE if any(self._uow.directory.has_any_at(kind, place) for kind in Kind) else None


KINDS: dict[ImportKind, type[Rows]] = {
    ImportKind.VOLUNTEERS: VolunteerRows, ImportKind.TEAMS: TeamRows, ImportKind.ITEMS: ItemRows,
    ImportKind.SITES: SiteRows,
}  # fmt: skip


class Importing:
    """One import within a unit of work."""

    def __init__(self, uow: Any, of: Import, place: Site, at: datetime, today: date) -> None:
        self._uow, self._of, self._at, self._today = uow, of, at, today
        self._rows: Rows = KINDS[of.kind](uow, of, place, today)

    def look_through(self, cells: Cells) -> tuple[list[str], list[Wrong]]:
        """The key of each row, and all that is wrong with any, seen together with the rows before."""
        cells = list(cells)
        wanted, wrong = self._read(cells)
        keys = {number: self._rows.key(row) for number, row in wanted.items()}
        first = self._uow.batches.rows_by_key(self._of.id, set(keys.values()))
        for number, key in keys.items():
            if (twin := first.setdefault(key, number)) != number:
                field, said = self._rows.twin
                wrong += self._of.form.told(number, invalid(field, said.format(twin)))
        wrong += self._each(wanted, keys, self._rows.check)[1]
        return [keys.get(number, "") for number, _ in cells], wrong

    def carry_out(self, batch: Batch) -> None:
        wanted, _ = self._read((number, cells) for number, cells in batch.rows() if number not in batch.wrong_rows)
        keys = {number: self._rows.key(row) for number, row in wanted.items()}
        ready, failed = self._each(wanted, keys, self._rows.make)
        saved = {number: self._rows.save(made, event, self._at) for number, (made, event) in ready.items()}
        batch.carry_out([Made(number, one.id, one.version) for number, one in saved.items()], failed)
        self._of.made += len(ready)
        self._of.failed += len({one.row for one in failed})

    def take_back(self, batch: Batch) -> None:
        kept = list(self._rows.take_back(batch.made, self._at))
        batch.note(kept)
        self._of.kept += len(kept)
        self._of.taken_back += len(batch.made) - len(kept)

    def move(self, batch: Batch) -> None:
        (self.carry_out if self._of.state is State.RUNNING else self.take_back)(batch)

    def _read(self, cells: Cells) -> tuple[dict[int, Any], list[Wrong]]:
        wanted, wrong = {}, []
        for number, texts in cells:
            command, found = self._of.form.read(self._of.headings, number, texts, self._today)
            wrong += found
            if command is not None:
                wanted[number] = command
        return wanted, wrong

    def _each(
        self, wanted: Mapping[int, Any], keys: Mapping[int, str], do: Callable[[str, Any, str], Any]
    ) -> tuple[dict[int, Any], list[Wrong]]:
        """What came of each row, and why nothing came of the rest."""
        ready, wrong = {}, []
        self._rows.look_up({keys[number]: row for number, row in wanted.items()})
        for number, row in wanted.items():
            try:
                ready[number] = do(made_id(self._of.id, number), row, keys[number])
            except ServiceError as error:
                wrong += self._of.form.told(number, error)
        return ready, wrong


def _bring(repository: Any, known: A | None, wanted: A, event: Event) -> A:
    """Where what was taken back before is there still, it is brought to what is wanted."""
    if known is None:
        repository.add(wanted, event)
        return wanted
    bring_to(known, wanted)
    repository.save(known, event)
    return known


def _sites(uow: Any, place: Site, rows: Iterable[RegisterVolunteer | TeamRow | PublishItem]) -> dict[str, Site]:
    found: dict[str, Site] = uow.sites.read_many({row.site or place.id for row in rows})
    return found


def _site(sites: Mapping[str, Site], place: Site, code: str | None) -> Site:
    site = sites.get(code or place.id)
    if site is None or place.id not in site.path:
        raise invalid("site", OUT_OF_PLACE)
    return site


def _id_number(text: str, today: date) -> str | None:
    """None for what is none, perhaps a volunteer's id."""
    try:
        return identity.citizen_id(text, today)
    except ServiceError:
        return None
