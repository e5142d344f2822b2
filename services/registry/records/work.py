"""Meetings with their decisions, plans with their progress, leaders linked to a site."""

from services.contracts.records import Meeting, Plan, SiteLink
from services.registry.records.kind import Kind

KINDS = (
    Kind(Meeting, computed=lambda meeting, _: {"open": sum(not decision.done for decision in meeting.decisions)}),
    Kind(
        Plan, unique=lambda plan, site: f"{site} {plan.year}",
        computed=lambda plan, _: {"progress": round(sum(task.progress for task in plan.tasks) / len(plan.tasks))},
    ),
    Kind(SiteLink, unique=lambda link, site: f"{site} {link.person}"),
)  # fmt: skip
