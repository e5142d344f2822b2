"""Rules and councils of a village, what residents propose, projects that come of it, households."""

from services.contracts.errors import invalid
from services.contracts.records import (
    Council,
    Household,
    HouseholdUpdated,
    Project,
    Proposal,
    ProposalDecision,
    VillageRule,
)
from services.registry.records.kind import Beside, Kind, Right


def _reasoned(proposal: Proposal, _beside: Beside) -> Proposal:
    if proposal.decision is ProposalDecision.REFUSED and not proposal.reason:
        raise invalid("reason", "不采纳的提案要写明理由")
    return proposal


def _project(proposal: Proposal, id: str) -> Project | None:
    if proposal.decision is not ProposalDecision.ACCEPTED:
        return None
    return Project(name=proposal.subject, category=proposal.category, description=proposal.text, proposal=id)


def _accounts(household: Household) -> dict[str, str]:
    return {f"members.{n}.account": member.account for n, member in enumerate(household.members) if member.account}


def _proxies(id: str, site: str, household: Household | None) -> list[HouseholdUpdated]:
    people = [member for member in household.members if member.account] if household else []
    members, proxies = [str(m.account) for m in people], [str(m.account) for m in people if m.proxy]
    return [HouseholdUpdated(site=site, household_id=id, members=members, proxies=proxies)]


KINDS = (
    Kind(VillageRule, unique=lambda rule, site: f"{site} {rule.name}"),
    Kind(Council, unique=lambda council, site: f"{site} {council.type}"),
    Kind(Proposal, settle=_reasoned, becomes=_project),
    Kind(Project, unique=lambda project, site: f"{site} {project.name}"),
    Kind(
        Household, read=Right.STAFF, forgets=True, accounts=_accounts, tells=_proxies,
        unique=lambda household, site: f"{site} {household.number}",
    ),
)  # fmt: skip
