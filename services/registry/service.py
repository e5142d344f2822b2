"""Registry: who and what is there, and who is asking."""

from collections.abc import Container, Sequence
from datetime import date
from typing import Any

from eventlet import tpool
from ulid import ULID

from services.chassis import telemetry
from services.chassis.clock import now
from services.chassis.messages import Event
from services.chassis.personal import blind_index
from services.chassis.process import UnitOfWork
from services.chassis.rpc import command, query
from services.chassis.settings import settings
from services.chassis.subscriber import subscribe
from services.chassis.timer import every
from services.contracts.activities import HoursEffective, HoursEvent, HoursReversed
from services.contracts.actor import Actor, Role
from services.contracts.errors import Conflict, Forbidden, NotFound, ServiceError, Unauthenticated, invalid
from services.contracts.imports import ExecuteImport, StageRows, StartImport, UndoImport
from services.contracts.notifications import ReadNotification, ReadNotifications, SetPreferences
from services.contracts.points import PointsDeposited, PointsEvent, PointsReversed
from services.contracts.records import (
    AddRecord,
    ChangeRecord,
    Household,
    RecordBody,
    RetireRecord,
    read_body,
    read_question,
)
from services.contracts.registry import (
    AddAccount,
    AddVolunteer,
    AdmitMember,
    ApproveTeam,
    Authenticate,
    CheckRealName,
    DissolveTeam,
    EraseVolunteer,
    FormTeam,
    GiveConsent,
    GrantQualification,
    HandOverTeam,
    InsureVolunteer,
    InviteMember,
    JoinTeam,
    LeaveTeam,
    LookUpVolunteers,
    OpenSites,
    ProposeTeam,
    PublishItem,
    RefuseTeam,
    RegisterVolunteer,
    RemoveMember,
    ReportAbsence,
    ResumeTeam,
    ResumeVolunteer,
    SuspendTeam,
    SuspendVolunteer,
    UpdateProfile,
    WithdrawAbsence,
    WithdrawConsent,
)
from services.contracts.zone import CHINA
from services.registry import domain, identity, imports, notifying, passwords, teams
from services.registry.directory import Kind, place_of, search_terms
from services.registry.domain import Account, Release, Resident, ServiceItem, Site, VolunteerTotals
from services.registry.importing import Importing
from services.registry.imports import Import
from services.registry.records import kind_of
from services.registry.records.kind import Kind as RecordKind
from services.registry.records.record import (
    Record,
    RecordEntry,
    merged,
    record_entry_view,
    record_view,
    wanted_terms,
)
from services.registry.repository import (
    Accounts,
    AllPreferences,
    Batches,
    Directory,
    Imports,
    Log,
    Notifications,
    RecordLog,
    Records,
    Releases,
    Residents,
    ServiceItems,
    Sites,
    Teams,
    Totals,
    Viewings,
    Volunteers,
)
from services.registry.standing import rule_of
from services.registry.teams import Part, Team
from services.registry.views import (
    entry_view,
    form_view,
    identity_view,
    import_view,
    item_view,
    listed_site_view,
    listed_team_view,
    notification_view,
    own_team_view,
    place_in_rows,
    preferences_view,
    rows_page,
    site_view,
    team_view,
    viewing_view,
    volunteer_view,
    waiting_checks_view,
    waiting_teams_view,
)
from services.registry.volunteers import (
    ALREADY_REGISTERED,
    PURPOSES,
    READING,
    Entry,
    Numbers,
    Request,
    Sight,
    Viewing,
    Volunteer,
    must_search,
    permit,
    sight_of,
)

REFERENCE = "reference"
DEMO_PASSWORD = "demo"
AGE_TICK, IMPORT_TICK, SMS_TICK = 10.0, 1.0, 1.0  # seconds
IMPORTS_AT_ONCE = 5
BATCH_DEADLINE = 10.0  # seconds
FIRST = 20
"""Of those that wait, how many are named; the others follow when these are done."""
MOST_UNREAD, READ_AT_ONCE = 100, 500
"""Nobody counts further than the first; with one command so many are marked."""
DUE_AT_ONCE = 250
"""Volunteers that one tick looks at in one go; the next follows at once while there are more."""

log = telemetry.logger("registry")

# Each thread keeps the memory of its last password hash, and there are two cores at most places.
tpool.set_num_threads(2)


def _totals_of(event: HoursEvent | PointsEvent) -> dict[str, list[str]]:
    return {"totals": [event.account_id if isinstance(event, PointsEvent) else event.volunteer_id]}


class RegistryService:
    name = "registry"

    uow = UnitOfWork(
        sites=Sites, teams=Teams, items=ServiceItems, volunteers=Volunteers, residents=Residents,
        accounts=Accounts, totals=Totals, releases=Releases, log=Log, directory=Directory, viewings=Viewings,
        imports=Imports, batches=Batches,
        records=Records, record_log=RecordLog, notifications=Notifications, preferences=AllPreferences,
    )  # fmt: skip

    # -- who is asking ------------------------------------------------------------------------------

    @command(Authenticate)
    def authenticate(self, actor: Actor, command: Authenticate) -> dict[str, Any]:
        account = self.uow.accounts.named(command.kind, command.username)
        matches = _matches(account.password_hash if account else None, command.password)
        if account is None or not matches or not account.active or _is_of_the_demo(command.password):
            raise Unauthenticated("用户名或密码不正确")
        return {**identity_view(account), "stamp": account.stamp}

    @query
    def standing(self, actor: Actor, stamp: str) -> dict[str, Any]:
        """What is true of the account now; ``Unauthenticated`` when its tokens with this stamp are void."""
        account = self.uow.accounts.find(actor.id)
        if account is None or not account.active or account.stamp != stamp:
            raise Unauthenticated("登录凭证已失效，请重新登录")
        return identity_view(account)

    @query
    def me(self, actor: Actor) -> dict[str, Any]:
        """What is true now, also when the caller's token is older."""
        who = self.uow.accounts.find(actor.id) or actor
        teams = self.uow.teams.with_member(who.volunteer)
        return {**identity_view(who), "teams": [own_team_view(team, who.volunteer) for team in teams]}

    @query
    def inbox(self, actor: Actor) -> dict[str, Any]:
        """What waits for the actor, by what is to be done; also where nothing does."""
        items = []
        if actor.has(Role.STAFF):
            items.append(waiting_teams_view("approve", self.uow.teams.proposed_at(actor.site)))
            items.append(waiting_checks_view(*self.uow.volunteers.to_check_at(actor.site, FIRST)))
        if actor.volunteer:
            own = self.uow.teams.with_member(actor.volunteer)
            led = [team for team in own if team.leader_id == actor.volunteer and team.applicants]
            items.append(waiting_teams_view("admit", led))
            items.append(waiting_teams_view("join", self.uow.teams.inviting(actor.volunteer)))
        return {"items": items}

    # -- places -------------------------------------------------------------------------------------

    @query
    def sites(
        self, actor: Actor, parent: str | None = None, tier: str | None = None, limit: int = 50,
        cursor: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        page = self.uow.sites.listed(parent, tier, limit, cursor)
        return {"items": [listed_site_view(site) for site in page.items], "next": page.next}

    @query
    def site(self, actor: Actor, code: str) -> dict[str, Any]:
        site = self._site(code)
        rule = rule_of(site.tier, _today()) if site.has_post else None
        return site_view(site, self.uow.teams.at(site.id), rule, actor)

    @query
    def service_items(
        self, actor: Actor, site: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> dict[str, Any]:
        page = self.uow.items.orderable_at(self._site(site or actor.site), limit, cursor)
        return {"items": [item_view(item) for item in page.items], "next": page.next}

    # -- volunteers ---------------------------------------------------------------------------------

    @command(RegisterVolunteer)
    def register_volunteer(self, actor: Actor, command: RegisterVolunteer) -> dict[str, Any]:
        account = self.uow.accounts.find(actor.id)
        if account is None or account.kind != "person":
            raise Forbidden("请先用个人账号登录，再登记为志愿者")
        site = self._chosen_site(command.site or account.site)
        numbers = self._free_numbers(command)
        volunteer, registered = Volunteer.register(str(ULID()), command, site, account, numbers, _today())
        self.uow.volunteers.add(volunteer, registered)
        self.uow.directory.list_volunteer(volunteer, site)
        self._note(actor, volunteer, "consent", volunteer.consents[0].in_words)
        self.uow.accounts.save(account)
        return self._seen(actor, volunteer, Sight.SELF)

    @command(UpdateProfile)
    def update_profile(self, actor: Actor, volunteer_id: str, command: UpdateProfile) -> dict[str, Any]:
        volunteer, site, sight = self._permitted("update_profile", actor, volunteer_id)
        events = volunteer.update_profile(command, site, _today())
        self._keep(actor, volunteer, events, "profile", "")
        self.uow.directory.list_volunteer(volunteer, site)
        return self._seen(actor, volunteer, sight)

    @command(GrantQualification)
    def grant_qualification(self, actor: Actor, volunteer_id: str, command: GrantQualification) -> dict[str, Any]:
        volunteer, site, sight = self._permitted("qualify", actor, volunteer_id)
        events = volunteer.qualify(command, site, _today())
        self._keep(actor, volunteer, events, "qualification", f"{command.kind} {command.until}")
        return self._seen(actor, volunteer, sight)

    @command(InsureVolunteer)
    def insure_volunteer(self, actor: Actor, volunteer_id: str, command: InsureVolunteer) -> dict[str, Any]:
        volunteer, site, sight = self._permitted("insure", actor, volunteer_id)
        events = volunteer.insure(command.until, site, _today())
        self._keep(actor, volunteer, events, "insurance", f"{command.until}")
        return self._seen(actor, volunteer, sight)

    @command(ReportAbsence)
    def report_absence(self, actor: Actor, volunteer_id: str, command: ReportAbsence) -> dict[str, Any]:
        volunteer, site, sight = self._permitted("report_absence", actor, volunteer_id)
        mates = {id for team in self.uow.teams.with_member(volunteer.id) for id in team.member_ids}
        events = volunteer.report_absence(str(ULID()), command, mates, site, _today())
        self._keep(actor, volunteer, events, "absence", f"{command.start}～{command.end}")
        return self._seen(actor, volunteer, sight)

    @command(WithdrawAbsence)
    def withdraw_absence(
        self, actor: Actor, volunteer_id: str, absence_id: str, command: WithdrawAbsence
    ) -> dict[str, Any]:
        volunteer, site, sight = self._permitted("withdraw_absence", actor, volunteer_id)
        leave = volunteer.leave(absence_id)
        events = volunteer.withdraw_absence(leave, site, _today())
        self._keep(actor, volunteer, events, "absence_withdrawn", f"{leave.start}～{leave.end}")
        return self._seen(actor, volunteer, sight)

    @command(SuspendVolunteer)
    def suspend_volunteer(self, actor: Actor, volunteer_id: str, command: SuspendVolunteer) -> dict[str, Any]:
        volunteer, site, sight = self._permitted("suspend", actor, volunteer_id)
        events = volunteer.suspend(command.reason, site, _today())
        self._keep(actor, volunteer, events, "suspended", command.reason)
        return self._seen(actor, volunteer, sight)

    @command(ResumeVolunteer)
    def resume_volunteer(self, actor: Actor, volunteer_id: str, command: ResumeVolunteer) -> dict[str, Any]:
        volunteer, site, sight = self._permitted("resume", actor, volunteer_id)
        events = volunteer.resume(site, _today())
        self._keep(actor, volunteer, events, "resumed", command.reason)
        return self._seen(actor, volunteer, sight)

    @command(CheckRealName)
    def check_real_name(self, actor: Actor, volunteer_id: str, command: CheckRealName) -> dict[str, Any]:
        volunteer, site, sight = self._permitted("check_real_name", actor, volunteer_id)
        events = volunteer.check_real_name(command, site, _today())
        self._keep(actor, volunteer, events, f"real_name_{command.result}", command.reason or "")
        return self._seen(actor, volunteer, sight)

    @command(GiveConsent)
    def give_consent(self, actor: Actor, volunteer_id: str, command: GiveConsent) -> dict[str, Any]:
        volunteer, site, sight = self._permitted("consent_to", actor, volunteer_id)
        events = volunteer.consent_to(command, site, _today())
        self._keep(actor, volunteer, events, "consent", volunteer.consents[-1].in_words)
        return self._seen(actor, volunteer, sight)

    @command(WithdrawConsent)
    def withdraw_consent(self, actor: Actor, volunteer_id: str, command: WithdrawConsent) -> dict[str, Any]:
        volunteer, site, sight = self._permitted("withdraw_consent", actor, volunteer_id)
        events = volunteer.withdraw_consent(command.purpose, site, _today())
        self._keep(actor, volunteer, events, "consent_withdrawn", PURPOSES[command.purpose])
        return self._seen(actor, volunteer, sight)

    @command(EraseVolunteer)
    def erase_volunteer(self, actor: Actor, volunteer_id: str, command: EraseVolunteer) -> dict[str, Any]:
        """Also from teams, the log and the account."""
        volunteer, site, sight = self._permitted("erase", actor, volunteer_id)
        own_teams, account_id = self.uow.teams.with_member(volunteer.id), volunteer.account_id
        self.uow.volunteers.save(volunteer, *volunteer.erase(own_teams, site, _today()))
        self.uow.directory.list_volunteer(volunteer, site)
        for team in own_teams:
            self.uow.teams.save(team, *team.leave(volunteer.id))
        for entry in self.uow.log.whole(volunteer.id):
            entry.forget(account_id)
            self.uow.log.save(entry)
        if account_id and (account := self.uow.accounts.find(account_id)):
            account.end_volunteering()
            account.phone = ""
            self.uow.accounts.save(account)
            for notification in self.uow.notifications.whole(account.id):
                notification.forget()
                self.uow.notifications.save(notification)
        by = volunteer.id if sight is Sight.SELF else actor.id
        self.uow.log.add(Entry(str(ULID()), volunteer.id, now(), by, "erased", ""))
        return self._seen(actor, volunteer, sight)

    # Who reads of others leaves a trace, so these reads are commands.

    @command()
    def volunteers(
        self, actor: Actor, q: str | None = None, skill: str | None = None, site: str | None = None, limit: int = 50,
        cursor: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """For staff: at a place of theirs and below it."""
        place = self._site(site or actor.site)
        must_search(actor, place.path)
        terms = search_terms(Kind.VOLUNTEER, q, skill)
        ids, following = self.uow.directory.found(Kind.VOLUNTEER, place_of(place), terms, limit, cursor)
        found = self.uow.volunteers.find_many(ids)
        items = self._seen_by_staff(actor, [found[id] for id in ids if id in found], Request.SEARCH)
        return {"items": items, "next": following}

    @command(LookUpVolunteers)
    def look_up_volunteers(self, actor: Actor, command: LookUpVolunteers) -> dict[str, Any]:
        """For staff, at its place and below: whoever is elsewhere looks unknown."""
        must_search(actor, self._site(actor.site).path)
        known = self._numbered(command)
        sites = self.uow.sites.find_many({volunteer.site for volunteer in known})
        found = [volunteer for volunteer in known if domain.is_staff_over(actor, sites[volunteer.site].path)]
        return {"items": self._seen_by_staff(actor, found, Request.LOOK_UP), "next": None}

    @command()
    def volunteer(self, actor: Actor, volunteer_id: str) -> dict[str, Any]:
        volunteer, _, sight = self._permitted("read", actor, volunteer_id)
        return self._seen(actor, volunteer, sight, Request.READ)

    @command()
    def volunteer_log(
        self, actor: Actor, volunteer_id: str, limit: int = 50, cursor: str | None = None
    ) -> dict[str, Any]:
        volunteer, _, _ = self._permitted("read_log", actor, volunteer_id)
        page = self.uow.log.of(volunteer.id, limit, cursor)
        self._trace(actor, [volunteer], Request.LOG, ["notes"])
        return {"items": [entry_view(entry) for entry in page.items], "next": page.next}

    @query
    def volunteer_views(
        self, actor: Actor, volunteer_id: str, limit: int = 50, cursor: str | None = None
    ) -> dict[str, Any]:
        volunteer, _, _ = self._permitted("read_log", actor, volunteer_id)
        page = self.uow.viewings.of(volunteer.id, limit, cursor)
        return {"items": [viewing_view(viewing) for viewing in page.items], "next": page.next}

    @every(AGE_TICK)
    def follow_ages(self) -> int:
        """Who has had the birthday at which an age band ends; only what is due is read."""
        if not self.uow.leads():
            return 0
        due = self.uow.volunteers.with_band_ending(_today(), DUE_AT_ONCE)
        sites = self.uow.sites.find_many({volunteer.site for volunteer in due})
        for volunteer in due:
            self.uow.volunteers.save(volunteer, *volunteer.grow_older(sites[volunteer.site], _today()))
        looked_at: int = self.uow.commit_each()
        return looked_at

    # -- teams --------------------------------------------------------------------------------------

    @command(ProposeTeam)
    def propose_team(self, actor: Actor, command: ProposeTeam) -> dict[str, Any]:
        leader = self._acting_volunteer(actor)
        home, site = self._site(leader.site), self._chosen_site(command.site or leader.site)
        others = self.uow.teams.with_member(leader.id)
        team, formed = Team.propose(str(ULID()), command, site, home, leader.id, others)
        self.uow.teams.add(team, formed)
        self.uow.directory.list_team(team, site)
        return team_view(team, Part.LEADER, leader.id)

    @command(ApproveTeam)
    def approve_team(self, actor: Actor, team_id: str, command: ApproveTeam) -> dict[str, Any]:
        return self._decide("approve", actor, team_id)

    @command(RefuseTeam)
    def refuse_team(self, actor: Actor, team_id: str, command: RefuseTeam) -> dict[str, Any]:
        return self._decide("refuse", actor, team_id, command.reason)

    @command(SuspendTeam)
    def suspend_team(self, actor: Actor, team_id: str, command: SuspendTeam) -> dict[str, Any]:
        return self._decide("suspend", actor, team_id, command.reason)

    @command(ResumeTeam)
    def resume_team(self, actor: Actor, team_id: str, command: ResumeTeam) -> dict[str, Any]:
        return self._decide("resume", actor, team_id, command.reason)

    @command(DissolveTeam)
    def dissolve_team(self, actor: Actor, team_id: str, command: DissolveTeam) -> dict[str, Any]:
        return self._decide("dissolve", actor, team_id, command.reason)

    @command(JoinTeam)
    def join_team(self, actor: Actor, team_id: str, command: JoinTeam) -> dict[str, Any]:
        """Who was not invited waits for the leader."""
        team = self._team(actor, team_id, "read")
        return self._keep_team(actor, team, team.join(self._acting_volunteer(actor).id))

    @command(LeaveTeam)
    def leave_team(self, actor: Actor, team_id: str, command: LeaveTeam) -> dict[str, Any]:
        team = self._team(actor, team_id, "read")
        return self._keep_team(actor, team, team.leave(teams.must_be_volunteer(actor)))

    @command(InviteMember)
    def invite_member(self, actor: Actor, team_id: str, command: InviteMember) -> dict[str, Any]:
        team = self._team(actor, team_id, "invite")
        self._known_volunteer(command.volunteer).must_serve()
        return self._keep_team(actor, team, team.invite(command.volunteer))

    @command(AdmitMember)
    def admit_member(self, actor: Actor, team_id: str, command: AdmitMember) -> dict[str, Any]:
        team = self._team(actor, team_id, "admit")
        self._known_volunteer(command.volunteer).must_serve()
        return self._keep_team(actor, team, team.admit(command.volunteer))

    @command(RemoveMember)
    def remove_member(self, actor: Actor, team_id: str, command: RemoveMember) -> dict[str, Any]:
        team = self._team(actor, team_id, "remove")
        return self._keep_team(actor, team, team.remove(command.volunteer))

    @command(HandOverTeam)
    def hand_over_team(self, actor: Actor, team_id: str, command: HandOverTeam) -> dict[str, Any]:
        team = self._team(actor, team_id, "hand_over")
        return self._keep_team(actor, team, team.hand_over(command.volunteer))

    @query
    def teams(
        self, actor: Actor, q: str | None = None, site: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> dict[str, Any]:
        """By name, initials or category, at a place and below it."""
        place, terms = self._site(site or actor.site), search_terms(Kind.TEAM, q)
        ids, following = self.uow.directory.found(Kind.TEAM, place_of(place), terms, limit, cursor)
        found = self.uow.teams.find_many(ids)
        return {"items": [listed_team_view(found[id]) for id in ids if id in found], "next": following}

    @query
    def team(self, actor: Actor, team_id: str) -> dict[str, Any]:
        return self._seen_team(actor, self._team(actor, team_id, "read"))

    # -- imports ------------------------------------------------------------------------------------

    @query
    def import_form(self, actor: Actor, kind: str, site: str | None = None) -> dict[str, Any]:
        """What a file of this kind looks like, for who may import at the place."""
        imports.must_import(kind, actor, self._site(site or actor.site).path)
        return form_view(imports.form_of(kind))

    @command(StartImport)
    def start_import(self, actor: Actor, command: StartImport) -> dict[str, Any]:
        site = self._chosen_site(command.site or actor.site)
        imports.must_import(command.kind, actor, site.path)
        started = Import.start(str(ULID()), command, site, actor, now())
        self.uow.imports.add(started)
        return import_view(started)

    @command(StageRows)
    def stage_rows(self, actor: Actor, import_id: str, command: StageRows) -> dict[str, Any]:
        """Nothing is done again of a batch that is there."""
        of, site = self._import(actor, import_id)
        if self.uow.batches.find(imports.batch_id(of.id, command.rows[0].number)) is None:
            keys, wrong = self._importing(of, site).look_through((row.number, row.cells) for row in command.rows)
            self.uow.batches.add(of.stage(command, keys, wrong, now()))
            self.uow.imports.save(of)
        return import_view(of)

    @command(ExecuteImport)
    def execute_import(self, actor: Actor, import_id: str, command: ExecuteImport) -> dict[str, Any]:
        of, _ = self._import(actor, import_id)
        of.execute(command.skip_errors, actor, now())
        self.uow.imports.save(of)
        return import_view(of)

    @command(UndoImport)
    def undo_import(self, actor: Actor, import_id: str, command: UndoImport) -> dict[str, Any]:
        of, _ = self._import(actor, import_id)
        of.undo(actor, now())
        self.uow.imports.save(of)
        return import_view(of)

    @query
    def import_state(self, actor: Actor, import_id: str) -> dict[str, Any]:
        return import_view(self._import(actor, import_id)[0])

    @query
    def import_rows(
        self, actor: Actor, import_id: str, only: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> dict[str, Any]:
        of, _ = self._import(actor, import_id)
        first, last = place_in_rows(cursor)
        batches = self.uow.batches.following(of.id, first - 1, only == "errors")
        return rows_page(of, batches, last, only == "errors", limit)

    @every(IMPORT_TICK)
    def move_imports(self) -> int:
        """A batch each, with the import's cursor: what a killed process has begun is gone on with."""
        if not self.uow.leads():
            return 0
        moved = 0
        for import_id in self.uow.imports.moving(IMPORTS_AT_ONCE):
            try:
                moved += self.uow.run(lambda id=import_id: self._move(id), BATCH_DEADLINE)
            except ServiceError as error:  # the others do not wait for it
                log.warning("import not moved", id=import_id, error=error.slug)
        return moved

    # -- plain records ------------------------------------------------------------------------------

    @command(AddRecord)
    def add_record(self, actor: Actor, kind: str, command: AddRecord) -> dict[str, Any]:
        of_kind = kind_of(kind)
        record = self._add_record(actor, of_kind, read_body(of_kind.body, command.fields))
        return record_view(of_kind, record, actor)

    @command(ChangeRecord)
    def change_record(self, actor: Actor, kind: str, record_id: str, command: ChangeRecord) -> dict[str, Any]:
        of_kind, record, whole = self._own_record(actor, kind, record_id)
        body = merged(of_kind, record.fields, command.fields)
        self._referred(actor, body, command.fields)
        self._keep_record(actor, of_kind, record, body, whole)
        return record_view(of_kind, record, actor)

    @command(RetireRecord)
    def retire_record(self, actor: Actor, kind: str, record_id: str, command: RetireRecord) -> dict[str, Any]:
        of_kind, record, whole = self._own_record(actor, kind, record_id)
        retired = record.retire(of_kind, whole, actor.id, now())
        for entry in self.uow.record_log.whole(record.id) if of_kind.forgets else ():
            entry.forget()
            self.uow.record_log.save(entry)
        self._save_record(record, whole, retired, {"reason": [None, command.reason]})
        return record_view(of_kind, record, actor)

    @query
    def records(self, actor: Actor, kind: str, question: str) -> dict[str, Any]:
        of_kind = kind_of(kind)
        asked = read_question(of_kind.body, question)
        terms = wanted_terms(of_kind, asked, self._site(asked.site or actor.site).path, actor)
        page = self.uow.records.listed(kind, terms, asked.limit, asked.cursor)
        return {"items": [record_view(of_kind, record, actor) for record in page.items], "next": page.next}

    @query
    def record(self, actor: Actor, kind: str, record_id: str) -> dict[str, Any]:
        of_kind = kind_of(kind)
        return record_view(of_kind, self._record(actor, of_kind, record_id), actor)

    @query
    def beneficiaries(self, actor: Actor) -> dict[str, Any]:
        """For whom the actor may order: those of the actor's households, if the actor is their proxy."""
        households = [record.read() for record in self.uow.records.of_account(Household.kind, actor.id)]
        people = {member.account: member for of in households if of.has_proxy(actor.id) for member in of.members}
        found = [(id, member) for id, member in people.items() if id not in (None, actor.id)]
        return {"items": [{"id": id, "name": m.name, "relation": m.relation} for id, m in found], "next": None}

    @query
    def record_log(
        self, actor: Actor, kind: str, record_id: str, limit: int = 50, cursor: str | None = None
    ) -> dict[str, Any]:
        record = self._record(actor, kind_of(kind), record_id)
        if not domain.is_staff_over(actor, record.path):
            raise Forbidden("只有本站点和上级站点的工作人员可以查看修改记录")
        page = self.uow.record_log.of(record.id, limit, cursor)
        return {"items": [record_entry_view(entry) for entry in page.items], "next": page.next}

    # -- notifications ------------------------------------------------------------------------------

    @query
    def notifications(
        self, actor: Actor, unread: bool = False, limit: int = 50, cursor: str | None = None
    ) -> dict[str, Any]:
        page = self.uow.notifications.of(actor.id, unread, limit, cursor)
        count = self.uow.notifications.unread(actor.id, MOST_UNREAD)
        return {"unread": count, "items": [notification_view(n) for n in page.items], "next": page.next}

    @command(ReadNotification)
    def read_notification(self, actor: Actor, notification_id: str, command: ReadNotification) -> dict[str, Any]:
        notification = self.uow.notifications.get(notification_id)
        if notification.account != actor.id:
            raise NotFound(self.uow.notifications.unknown)
        if notification.read(now()):
            self.uow.notifications.save(notification)
        return notification_view(notification)

    @command(ReadNotifications)
    def read_notifications(self, actor: Actor, command: ReadNotifications) -> dict[str, Any]:
        """So many in one go; ``more``: ask again for the older ones."""
        unread = self.uow.notifications.unread_up_to(actor.id, command.up_to, READ_AT_ONCE)
        for notification in unread:
            notification.read(now())
            self.uow.notifications.save(notification)
        return {"read": len(unread), "more": len(unread) == READ_AT_ONCE}

    @query
    def notification_preferences(self, actor: Actor, on_behalf_of: str | None = None) -> dict[str, Any]:
        account = self._told(actor, on_behalf_of)
        return preferences_view(self.uow.preferences.of(account.id), account.phone)

    @command(SetPreferences)
    def set_preferences(self, actor: Actor, command: SetPreferences) -> dict[str, Any]:
        account = self._told(actor, command.on_behalf_of)
        preferences = self.uow.preferences.of(account.id)
        preferences.bring_to(command)
        self.uow.preferences.save(preferences)
        if command.phone is not None:
            account.phone = identity.mobile(command.phone) if command.phone else ""
            self.uow.accounts.save(account)
        notifying.Memories.wishes.forget(account.id)
        return preferences_view(preferences, account.phone)

    @every(SMS_TICK)
    def send_short_messages(self) -> int:
        sending = notifying.sending()
        return sending.send(self.uow) if sending else 0

    locals().update(notifying.handlers())  # a class body's names are its methods

    # -- reference data: sent again they change nothing ---------------------------------------------

    @command(OpenSites)
    def open_sites(self, actor: Actor, command: OpenSites) -> dict[str, Any]:
        """Parents come first, in the same command or an earlier one."""
        domain.must_administer(actor)
        codes = {s.code for s in command.sites} | {s.parent for s in command.sites if s.parent}
        known = self.uow.sites.find_many(codes)
        for wanted in command.sites:
            site, opened = Site.open(wanted, known.get(wanted.parent))
            known[site.id] = self._bring(self.uow.sites, site, opened)
        return {"sites": len(command.sites)}

    @command(FormTeam)
    def form_team(self, actor: Actor, command: FormTeam) -> dict[str, Any]:
        domain.must_administer(actor)
        members, known = self.uow.volunteers.find_many(command.member_ids), self.uow.teams.find(command.id)
        site = self._chosen_site(command.site)
        team, formed = Team.form(command, site, members, known)
        self._bring(self.uow.teams, team, formed)
        self.uow.directory.list_team(team, site)
        return {"id": team.id}

    @command(PublishItem)
    def publish_item(self, actor: Actor, command: PublishItem) -> dict[str, Any]:
        domain.must_administer(actor)
        item, published = ServiceItem.publish(command, self._chosen_site(command.site))
        self._bring(self.uow.items, item, published)
        return {"id": item.id}

    @command(AddVolunteer)
    def add_volunteer(self, actor: Actor, command: AddVolunteer) -> dict[str, Any]:
        domain.must_administer(actor)
        site, known = self._chosen_site(command.site), self.uow.volunteers.find(command.id)
        numbers = self._free_numbers(command, of=command.id)
        volunteer, registered = Volunteer.add(command, site, numbers, _today(), known)
        self._bring(self.uow.volunteers, volunteer, registered)
        self.uow.directory.list_volunteer(volunteer, site)
        return {"id": volunteer.id}

    @command(AddAccount)
    def add_account(self, actor: Actor, command: AddAccount) -> dict[str, Any]:
        """An account, and what the person is: a resident, the holder of a post, a volunteer."""
        domain.must_administer(actor)
        if _is_of_the_demo(command.password):
            raise invalid("password", "演示密码只能用于本机演示，请换一个")
        site, known = self._chosen_site(command.site), self.uow.accounts.find(command.id)
        namesake = self.uow.accounts.named(command.kind, command.username)
        if namesake is not None and namesake is not known:
            raise Conflict("这个用户名已经有人使用")
        account = Account.of(command, _kept_or_new(known, command.password), known)
        self._bring(self.uow.accounts, account)
        if Role.RESIDENT in account.roles:
            self._bring(self.uow.residents, *Resident.register(account))
        if Role.STAFF in account.roles and site.appoint(account.id):
            self.uow.sites.save(site)
        if account.volunteer is not None:
            self._link(account.volunteer, account)
        return identity_view(account)

    @command()
    def mark_loaded(self, actor: Actor, version: str) -> dict[str, Any]:
        domain.must_administer(actor)
        self._bring(self.uow.releases, Release(REFERENCE, version))
        return {"version": version}

    @query
    def readiness(self, actor: Actor) -> dict[str, Any]:
        """How much is in. ``sites`` counts places without a post too."""
        release = self.uow.releases.find(REFERENCE)
        counted = ("sites", "teams", "items", "accounts", "residents")
        counts = {name: getattr(self.uow, name).count() for name in counted}
        return {**counts, "loaded": release is not None, "version": release.label if release else None}

    # -- totals per volunteer -----------------------------------------------------------------------

    @subscribe(HoursEffective, loads=_totals_of)
    def add_hours(self, event: HoursEffective) -> None:
        totals = self.uow.totals.of(event.volunteer_id)
        totals.add_hours(event.hours)
        self.uow.totals.save(totals)

    @subscribe(HoursReversed, loads=_totals_of)
    def take_back_hours(self, event: HoursReversed) -> None:
        if not event.was_effective:
            return
        totals = self.uow.totals.of(event.volunteer_id)
        totals.add_hours(-event.hours)
        self.uow.totals.save(totals)

    # Each carries the balance and its place in the account's history, so these need no inbox.

    @subscribe(PointsDeposited, idempotent=True, loads=_totals_of)
    def follow_deposit(self, event: PointsDeposited) -> None:
        self._follow_balance(event)

    @subscribe(PointsReversed, idempotent=True, loads=_totals_of)
    def follow_reversal(self, event: PointsReversed) -> None:
        self._follow_balance(event)

    # -- parts --------------------------------------------------------------------------------------

    def _permitted(self, what: str, actor: Actor, volunteer_id: str) -> tuple[Volunteer, Site, Sight]:
        """With the site, and as what the actor sees the volunteer."""
        volunteer = self.uow.volunteers.get(volunteer_id)
        site, shared = self._site(volunteer.site), self.uow.teams.with_member(volunteer.id)
        sight = permit(what, sight_of(actor, volunteer, site.path, shared))
        if what not in READING:
            volunteer.must_be_kept()
        return volunteer, site, sight

    def _keep(self, actor: Actor, volunteer: Volunteer, events: Sequence[Event], what: str, note: str) -> None:
        """With a line in the log; nothing when nothing has changed."""
        if events:
            self.uow.volunteers.save(volunteer, *events)
            self._note(actor, volunteer, what, note)

    def _note(self, actor: Actor, volunteer: Volunteer, what: str, note: str) -> None:
        self.uow.log.add(Entry(str(ULID()), volunteer.id, now(), actor.id, what, note))

    def _seen(
        self, actor: Actor, volunteer: Volunteer, sight: Sight, request: Request = Request.CHANGE
    ) -> dict[str, Any]:
        self._trace(actor, [volunteer], request, sight.in_clear)
        return volunteer_view(volunteer, self.uow.totals.of(volunteer.id), sight)

    def _seen_by_staff(self, actor: Actor, found: Sequence[Volunteer], request: Request) -> list[dict[str, Any]]:
        self._trace(actor, found, request, Sight.STAFF.in_clear)
        totals = self.uow.totals.find_many([volunteer.id for volunteer in found])
        return [volunteer_view(v, totals.get(v.id) or VolunteerTotals(v.id), Sight.STAFF) for v in found]

    def _trace(self, actor: Actor, seen: Sequence[Volunteer], request: Request, fields: list[str]) -> None:
        """Committed before the answer leaves: what leaves no trace is not told."""
        if viewing := Viewing.of(str(ULID()), seen, now(), actor, request, fields):
            self.uow.viewings.add(viewing)

    def _numbered(self, wanted: LookUpVolunteers) -> list[Volunteer]:
        """Raise ``Invalid``."""
        match wanted.id_number, wanted.phone:
            case str(text), None:
                holder = self.uow.volunteers.with_id_number(blind_index(identity.citizen_id(text, _today())))
                return [holder] if holder else []
            case None, str(text):
                found: list[Volunteer] = self.uow.volunteers.with_phone(blind_index(identity.mobile(text)))
                return found
        raise invalid("id_number", "身份证号和手机号请填一项，且只填一项")

    def _team(self, actor: Actor, team_id: str, what: str) -> Team:
        team: Team | None = self.uow.teams.find(team_id)
        if team is None:
            raise NotFound(teams.UNKNOWN)
        teams.permit(what, self._part_in(actor, team))
        return team

    def _part_in(self, actor: Actor, team: Team) -> Part | None:
        return teams.part_in(actor, team, self._site(team.site).path)

    def _decide(self, what: str, actor: Actor, team_id: str, reason: str | None = None) -> dict[str, Any]:
        """What changes whether the team is found."""
        team = self._team(actor, team_id, what)
        events = team.decide(what, actor, reason)
        self.uow.directory.list_team(team, self._site(team.site))
        return self._keep_team(actor, team, events)

    def _keep_team(self, actor: Actor, team: Team, events: Sequence[Event]) -> dict[str, Any]:
        self.uow.teams.save(team, *events)
        return self._seen_team(actor, team)

    def _seen_team(self, actor: Actor, team: Team) -> dict[str, Any]:
        return team_view(team, self._part_in(actor, team) or Part.OTHER, actor.volunteer)

    def _acting_volunteer(self, actor: Actor) -> Volunteer:
        volunteer: Volunteer = self.uow.volunteers.get(teams.must_be_volunteer(actor))
        volunteer.must_serve()
        return volunteer

    def _known_volunteer(self, id: str) -> Volunteer:
        """Of a command: an unknown one is a wrong field."""
        volunteer: Volunteer | None = self.uow.volunteers.find(id)
        if volunteer is None:
            raise invalid("volunteer", "没有这位志愿者")
        return volunteer

    def _import(self, actor: Actor, import_id: str) -> tuple[Import, Site]:
        """With its place; who may not begin one does not see it."""
        of = self.uow.imports.get(import_id)
        site = self._site(of.site)
        if not imports.may_import(of.kind, actor, site.path):
            raise NotFound()
        return of, site

    def _importing(self, of: Import, site: Site) -> Importing:
        return Importing(self.uow, of, site, now(), _today())

    def _move(self, import_id: str) -> int:
        of = self.uow.imports.get(import_id)
        if not of.moving:
            return 0
        batch = self.uow.batches.next(of.id, of.cursor)
        if batch is not None:
            self._importing(of, self._site(of.site)).move(batch)
            self.uow.batches.save(batch)
        of.move_past(batch)
        self.uow.imports.save(of)
        return 1

    def _record(self, actor: Actor, kind: RecordKind[Any], id: str) -> Record:
        record: Record | None = self.uow.records.find(id)
        if record is None or record.kind != kind.name:
            raise kind.unknown()
        kind.must_read(actor, record.path)
        return record

    def _own_record(self, actor: Actor, kind: str, id: str) -> tuple[RecordKind[Any], Record, Record | None]:
        """To be changed, with what it is a part of."""
        of_kind = kind_of(kind)
        record = self._record(actor, of_kind, id)
        of_kind.must_write(actor, record.path)
        record.must_be_active(of_kind)
        return of_kind, record, self.uow.records.find(record.part_of) if record.part_of else None

    def _referred(self, actor: Actor, body: RecordBody, names: Container[str]) -> dict[str, Record]:
        """The records whose ids are in fields of these names; an unknown one is a wrong field."""
        found = {}
        for name, kind in body.refers.items():
            if name in names and (id := getattr(body, name)) is not None:
                record = self.uow.records.find(id)
                if record is None or not record.can_be_referred_to(kind_of(kind), actor):
                    raise invalid(name, f"没有这个{kind_of(kind).title}，或者已经停用；请从列表中选择")
                found[name] = record
        return found

    def _add_record(self, actor: Actor, kind: RecordKind[Any], body: Any) -> Record:
        whole = self._referred(actor, body, kind.body.refers).get(kind.body.part_of)
        site = self._site(whole.site) if whole else self._chosen_site(body.site or actor.site)
        kind.must_write(actor, site.path)
        record = Record.begin(str(ULID()), kind, site, whole, actor.id, now())
        self.uow.records.track_new(record)
        self._keep_record(actor, kind, record, body, whole)
        return record

    def _keep_record(
        self, actor: Actor, kind: RecordKind[Any], record: Record, body: RecordBody, whole: Record | None
    ) -> None:
        """Nothing is written where nothing has changed."""
        self._check_accounts(kind, body)
        # After what it is a part of was read: whoever adds another part meanwhile changes that.
        rivals = self.uow.records.meeting(kind.name, kind.meets(body))
        changes = record.settle(kind, body, whole, rivals)
        if not changes:
            return
        key = kind.unique(record.read(), record.site)
        record.unique = blind_index(f"{kind.name} {key}") if key else ""
        if (holder := self.uow.records.holding(record.unique)) is not None and holder is not record:
            raise Conflict(f"这个{kind.title}已经登记过，请在列表中查找，不要重复登记")
        self._save_record(record, whole, record.changed(kind, actor.id, now()), changes)
        if (turned := record.turns_into(kind)) is not None:
            record.became = self._add_record(actor, kind_of(turned.kind), turned).id

    def _check_accounts(self, kind: RecordKind[Any], body: RecordBody) -> None:
        named = kind.accounts(body)
        known = self.uow.accounts.read_many(set(named.values())) if named else {}
        for path, id in named.items():
            if id not in known:
                raise invalid(path, "没有这个账号，请核对编号；没有账号可以不填")

    def _save_record(self, record: Record, whole: Record | None, events: list[Event], changes: dict[str, Any]) -> None:
        """With a line of its history, and with what it is a part of, so that of two at a time one comes first."""
        self.uow.records.save(record, *events)
        self.uow.record_log.add(RecordEntry.of(str(ULID()), record, events[0], changes))
        if whole is not None:
            self.uow.records.save(whole)

    def _follow_balance(self, event: PointsDeposited | PointsReversed) -> None:
        totals = self.uow.totals.of(event.account_id)
        if totals.follow_points(event.balance, self.uow.sequence):
            self.uow.totals.save(totals)

    def _told(self, actor: Actor, named: str | None) -> Account:
        """Whose notifications are meant: the actor's, or those of a resident below staff; raise ``NotFound``."""
        account: Account | None = self.uow.accounts.find(named or actor.id)
        if account is None or (account.id != actor.id and not self._serves(actor, account)):
            raise NotFound("没有找到这位居民")
        return account

    def _serves(self, actor: Actor, account: Account) -> bool:
        """As staff serve residents of their place and below it."""
        return Role.RESIDENT in account.roles and domain.is_staff_over(actor, self._site(account.site).path)

    def _site(self, code: str) -> Site:
        site: Site | None = self.uow.sites.find(code)
        if site is None:
            raise NotFound("没有这个站点")
        return site

    def _chosen_site(self, code: str) -> Site:
        """Of a command: an unknown one is a wrong field."""
        site: Site | None = self.uow.sites.find(code)
        if site is None:
            raise invalid("site", "没有这个站点")
        return site

    def _free_numbers(self, wanted: RegisterVolunteer | AddVolunteer, of: str | None = None) -> Numbers:
        """With their indexes; ``Conflict`` when another volunteer has the id number."""
        id_number, phone = identity.citizen_id(wanted.id_number, _today()), identity.mobile(wanted.phone)
        numbers = Numbers(id_number, blind_index(id_number), phone, blind_index(phone))
        holder = self.uow.volunteers.with_id_number(numbers.id_number_index)
        if holder is not None and holder.id != of:
            raise Conflict(ALREADY_REGISTERED)
        return numbers

    def _link(self, volunteer_id: str, account: Account) -> None:
        volunteer = self._known_volunteer(volunteer_id)
        if volunteer.account_id != account.id:
            volunteer.account_id = account.id
            self.uow.volunteers.save(volunteer)

    def _bring(self, repository: Any, wanted: Any, *events: Any) -> Any:
        """Add it, or bring what is there to it; nothing is said of what does not change."""
        known = repository.find(wanted.id)
        if known is None:
            repository.add(wanted, *events)
        elif domain.bring_to(known, wanted):
            repository.save(known, *events)
        return known or wanted


def _today() -> date:
    return now().astimezone(CHINA).date()


def _matches(password_hash: str | None, password: str) -> bool:
    """Off the event loop, which would stand still meanwhile."""
    matches: bool = tpool.execute(passwords.matches, password_hash, password)
    return matches


def _is_of_the_demo(password: str) -> bool:
    """Known to everybody, and good in the local profile only, also where a demo was loaded once."""
    return password == DEMO_PASSWORD and settings().profile != "local"


def _kept_or_new(known: Account | None, password: str) -> str:
    if known is not None and _matches(known.password_hash, password):
        return known.password_hash
    password_hash: str = tpool.execute(passwords.hashed, password)
    return password_hash
