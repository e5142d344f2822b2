"""What dispatch reads to match an order, against the real database."""

import random
from datetime import timedelta

from services.chassis.repository import to_document
from services.chassis.unit_of_work import Work, connect
from services.contracts.registry import Absence, OfferMode, Slot
from services.dispatch.domain import Seat
from services.dispatch.finder import Finder
from services.dispatch.service import DispatchService
from tests.builders import MORNING, VILLAGE, a_person, a_team
from tests.unit.test_matching import a_need

TEAMS, MEMBERS = 8, 6
TODAY = MORNING.date()
AWAY = [Absence(start=TODAY, end=TODAY)]


def test_an_order_that_suits_anybody_is_judged_alike_by_who_is_restricted_and_by_everybody(
    mongo_uri: str, database_prefix: str
) -> None:
    rng = random.Random(7)
    teams = [a_team(f"t{t}", member_ids=[f"t{t}-{m}" for m in range(MEMBERS)]) for t in range(TEAMS)]
    people = [
        a_person(
            id, suspended=rng.random() < 0.3, absences=AWAY if rng.random() < 0.3 else [],
            availability=rng.sample(list(Slot), 3) if rng.random() < 0.5 else [],
        )
        for team in teams for id in team.member_ids if rng.random() < 0.8
    ]  # fmt: skip
    with connect(mongo_uri, "test") as client:
        database = client[f"{database_prefix}dispatch"]
        database["teams"].insert_many(map(to_document, teams))
        database["volunteers"].insert_many(map(to_document, people))

        def finder() -> Finder:
            return Finder(Work(database, DispatchService.uow.repositories), MORNING)

        need = a_need(mode=OfferMode.WAVES, start=MORNING, end=MORNING + timedelta(hours=1))
        everybody = finder().prepare([Seat(VILLAGE, need.tier, auto_offer=True)]).match(need)
        assert finder().match(need).candidates == everybody.candidates
    assert len({candidate.score for candidate in everybody.candidates}) > 2, "they differ"
