"""Rules and councils of a village, what residents propose, projects that come of it, households."""

from services.contracts.errors import invalid
from services.contracts.records import (
    Council,
    Household,
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


KINDS = (
    Kind(VillageRule, unique=lambda rule, site: f"{site} {rule.name}"),
    Kind(Council, unique=lambda council, site: f"{site} {council.type}"),
    Kind(Proposal, settle=_reasoned, becomes=_project),
    Kind(Project, unique=lambda project, site: f"{site} {project.name}"),
    Kind(
        Household, read=Right.STAFF, forgets=True,
        unique=lambda household, site: f"{site} {household.number}",
    ),
)  # fmt: skip
