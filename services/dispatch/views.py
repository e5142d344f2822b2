"""How an order, or a series of them, looks to who asks."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from services.contracts.actor import Actor
from services.contracts.privacy import mask, mask_name
from services.contracts.zone import CHINA
from services.dispatch.cases import TITLES as CASE_TITLES
from services.dispatch.cases import Case
from services.dispatch.domain import Entry, Message, Note, Order
from services.dispatch.inbox import TITLES, Matter
from services.dispatch.known import Item, Team
from services.dispatch.matching import Candidate, Decision, RuleSet, in_words
from services.dispatch.permissions import is_requester, is_staff_above, reads_in_clear, reads_of_the_visit
from services.dispatch.photos import Photo
from services.dispatch.quality import FACTS, Tally
from services.dispatch.series import Occurrence, Series
from services.dispatch.support import TITLES as SUPPORT_TITLES
from services.dispatch.support import SupportRequest
from services.dispatch.viewings import Viewing

OF_NEIGHBOURS = ("joined", "left")


def order_view(order: Order, actor: Actor, teams: Iterable[Team] = ()) -> dict[str, Any]:
    """Address and name only for those who need them (public contract, section 3.2)."""
    teams = list(teams)
    clear = reads_in_clear(actor, order, teams)
    return {
        "id": order.id,
        "state": order.state,
        "tier": order.tier,
        "holder": None if order.holder is None else {"kind": order.holder.kind, "id": order.holder.id},
        "site": order.site,
        "due_at": order.due_at,
        "target_at": order.tier_due_at,
        "deadline_table": order.deadline_table,
        "waiting_for": "resident" if order.asked_at else None,
        "offers": [{"team": o.team, "state": o.state, "tier": o.tier} for o in order.offers],
        "accepted_by": order.accepted_by,
        "cycle": order.cycle,
        "reopens": order.reopens,
        "series": order.series,
        "service_item": order.item_id,
        "service_item_name": order.item_name,
        "category": order.category,
        "target_group": order.target_group,
        "urgent": order.urgent,
        "description": order.description if clear else mask(order.description),
        "address": order.address if clear else None,
        "resident": _resident(order) if clear else None,
        "preferred": _preferred(order),
        "appointed_by": order.appointed_by,
        "similar": order.similar if clear else [],
        "needed_by": order.needed_by,
        "joined": order.joined if actor.is_admin or is_staff_above(actor, order.path) else [],
        "placed_at": order.placed_at,
        "volunteers": order.volunteers,
        "records": [{"volunteer": s.volunteer_id, "from": s.start, "to": s.end} for s in order.segments],
        "summary": order.summary if clear else None,
        "evidence": order.evidence if clear else [],
        "photos": order.photos if clear else [],
        "rating": _rating(order, clear),
        "visit_rating": _scored(order.visit_score, order.visit_comment)
        if reads_of_the_visit(actor, order, teams)
        else None,
        "possible": order.possible,
        "pool": bool(order.pool_at),
        "next_offer_at": order.wave_at,
        "needs": {"skills": order.skills, "qualifications": order.qualifications, "risk": order.risk},
    }


def neighbour_view(order: Order, actor: Actor) -> dict[str, Any]:
    """What neighbours see of each other's orders: what is needed and how far it is, of whom nothing."""
    return {
        "id": order.id,
        "service_item": order.item_id,
        "service_item_name": order.item_name,
        "state": order.state,
        "placed_on": order.placed_at.astimezone(CHINA).date(),
        "needed_by": order.needed_by,
        "own": is_requester(actor, order),
        "joined": actor.id in order.joined,
    }


def day_view(order: Order, actor: Actor, teams: Iterable[Team]) -> dict[str, Any]:
    """A line of the list of a day."""
    clear, name = reads_in_clear(actor, order, teams), order.resident_name
    return {
        "order": order.id,
        "series": order.series,
        "site": order.site,
        "from": order.preferred_from,
        "to": order.preferred_to,
        "service_item_name": order.item_name,
        "state": order.state,
        "resident": name if clear or name is None else mask_name(name),
        "resident_id": order.resident_id if clear else None,
        "phone": order.phone if clear else None,
        "needed_by": order.needed_by,
        "target_group": order.target_group,
        "to_home": order.address is not None,
        "address": order.address if clear else None,
        "description": order.description if clear else mask(order.description),
        "team": order.accepted_by,
        "volunteers": order.volunteers,
    }


def series_view(series: Series, now: datetime | None = None) -> dict[str, Any]:
    """Only the requester and staff see it at all. ``ended``: no more orders come of it.

    ``now``: with what comes next, which takes a while to find.
    """
    seen = {
        "id": series.id,
        "state": "ended" if series.next_at is None else "running",
        "site": series.site,
        "service_item": series.item_id,
        "service_item_name": series.item_name,
        "target_group": series.target_group,
        "description": series.description,
        "address": series.address,
        "resident": _resident(series),
        "placed_by": series.placed_by,
        "rule": series.rule,
        "start": series.start,
        "minutes": series.minutes,
        "holidays": series.holidays,
        "lead_days": series.lead_days,
        "runs_until": series.last_day,
        "ended_from": series.ended_from,
        "end_reason": series.end_reason,
        "started_at": series.started_at,
        "next_order_at": series.next_at,
        "moved": [{"occurrence": move.day, "to": move.start} for move in series.moves],
        "skipped": [{"occurrence": s.day, "by": s.by, "reason": s.reason} for s in series.skipped],
        "missed": [{"occurrence": missed.day, "why": missed.why} for missed in series.missed],
    }
    if now is not None:
        seen["next"] = [_occurrence(series, one) for one in series.coming(now)]
    return seen


def _occurrence(series: Series, one: Occurrence) -> dict[str, Any]:
    placed = one.day in series.placed
    return {
        "occurrence": one.day,
        "from": one.start,
        "to": series.end_of(one),
        "state": "placed" if placed else "planned",
        "order": series.order_id(one) if placed else None,
        "order_at": series.place_at(one),
    }


def _preferred(order: Order) -> dict[str, Any] | None:
    if order.preferred_from is None:
        return None
    return {"from": order.preferred_from, "to": order.preferred_to}


def _rating(order: Order, clear: bool) -> dict[str, Any] | None:
    if order.score is None:
        return None
    return {"score": order.score, "comment": order.comment if clear else None, "by": order.rated_by}


def _resident(of: Order | Series) -> dict[str, Any]:
    return {"id": of.resident_id, "name": of.resident_name, "phone": of.phone}


def _scored(score: int | None, comment: str | None) -> dict[str, Any] | None:
    return None if score is None else {"score": score, "comment": comment}


def message_view(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "by": message.by,
        "sender": message.sender,
        "text": message.text,
        "time": message.sent_at,
        "needs_reply": message.needs_reply,
        "channel": message.channel,
    }


def note_view(note: Note) -> dict[str, Any]:
    return {"id": note.id, "by": note.by, "text": note.text, "time": note.at}


def photo_view(photo: Photo) -> dict[str, Any]:
    return {
        "id": photo.id,
        "url": f"/v1/orders/{photo.order_id}/photos/{photo.id}",
        "width": photo.width,
        "height": photo.height,
        "bytes": photo.size,
        "by": photo.by,
        "time": photo.at,
    }


def viewing_view(viewing: Viewing) -> dict[str, Any]:
    """Of one of the orders; which the others were is not said."""
    return {"id": viewing.id, "at": viewing.at, "by": viewing.by, "request": viewing.request}


def case_view(case: Case) -> dict[str, Any]:
    return {
        "id": case.id,
        "order": case.order_id or None,
        "kind": case.kind,
        "title": CASE_TITLES[case.kind],
        "state": case.state,
        "urgent": case.urgent,
        "place": case.place,
        "site": case.site,
        "team": case.team_id or None,
        "text": case.text,
        "opened_by": case.opened_by,
        "opened_at": case.opened_at,
        "due_at": case.due_at,
        "taken_by": case.taken_by,
        "settled_by": case.settled_by,
        "settled_at": case.settled_at,
        "outcome": case.outcome,
        "timeline": [timeline_view(entry) for entry in case.timeline],
    }


def support_view(request: SupportRequest) -> dict[str, Any]:
    return {
        "id": request.id,
        "kind": request.kind,
        "title": SUPPORT_TITLES[request.kind],
        "state": request.state,
        "site": request.site,
        "center": request.center,
        "text": request.text,
        "goods": [goods.model_dump() for goods in request.goods],
        "asked_by": request.asked_by,
        "asked_at": request.timeline[0].time,
        "due_at": request.due_at,
        "taken_by": request.taken_by,
        "answer": request.answer,
        "sent": [goods.model_dump() for goods in request.sent],
        "rating": _scored(request.score, request.comment),
        "timeline": [{"time": step.time, "event": step.event, "actor": step.actor} for step in request.timeline],
        "possible": request.possible,
    }


def waiting_support_view(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "what": "support",
        "title": "物资和技术支持，待办理",
        "count": found.get("count", 0),
        "due_at": found.get("due_at"),
        "requests": "/v1/support-requests?state=waiting",
    }


def waiting_cases_view(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "what": "follow_up",
        "title": "低分、投诉和反映的事，待办理",
        "count": found.get("count", 0),
        "urgent": found.get("urgent", 0),
        "due_at": found.get("due_at"),
        "cases": "/v1/cases?state=waiting",
    }


def timeline_view(entry: Entry) -> dict[str, Any]:
    """Who of the neighbours needs the same is nobody's business but staff's, who read it in the order."""
    actor = None if entry.event in OF_NEIGHBOURS else entry.actor
    return {"time": entry.time, "event": entry.event, "actor": actor, "tier": entry.tier, "note": entry.note}


def waiting_view(matter: Matter, found: Mapping[str, Any]) -> dict[str, Any]:
    """``due_at``: the first deadline among them."""
    return {
        "what": matter,
        "title": TITLES[matter],
        "count": found.get("count", 0),
        "urgent": found.get("urgent", 0),
        "due_at": found.get("due_at"),
        "orders": f"/v1/orders?waiting={matter}",
    }


def quality_view(item: Item, tally: Tally) -> dict[str, Any]:
    facts = {fact: tally.facts.get(fact, 0) for fact in FACTS}
    return {
        "service_item": item.id,
        "service_item_name": item.name,
        "category": item.category,
        "placed": facts.pop("placed"),
        "taken": facts.pop("accepted"),
        "median_seconds_to_acceptance": tally.median_wait,
        **facts,
        "score": tally.score,
        "ratings": tally.ratings,
        "default_ratings": tally.default_ratings,
    }


def decision_view(decision: Decision, shown: set[str] | None, words: Mapping[str, str]) -> dict[str, Any]:
    """``shown``: the teams whose part may be seen, None for all; ``words`` are those of the county's rules."""
    candidates = [c for c in decision.candidates if shown is None or c.team in shown]
    return {
        "time": decision.at,
        "by": decision.by,
        "tier": decision.tier,
        "site": decision.site,
        "mode": decision.mode,
        "rules": decision.rules,
        "chosen": [team for team in decision.chosen if shown is None or team in shown],
        "reason": decision.reason if shown is None else None,
        "candidates": [_candidate(candidate, words) for candidate in candidates],
        "considered": len(decision.candidates) + decision.others,
    }


def _candidate(candidate: Candidate, words: Mapping[str, str]) -> dict[str, Any]:
    return {
        "team": candidate.team,
        "verdict": candidate.verdict,
        "why": [{"code": rule, "text": in_words(rule, words)} for rule in candidate.rules],
        "members": [{"code": w, "text": in_words(w, words), "count": n} for w, n in candidate.members.items()],
        "fit": candidate.fit,
        "score": candidate.score,
        "values": candidate.values,
        "borrowed": candidate.distance > 0,
    }


def rules_view(rules: RuleSet) -> dict[str, Any]:
    return {
        "id": rules.version,
        "valid_from": rules.valid_from,
        "by": rules.by,
        "block": [rule.model_dump(exclude_defaults=True) for rule in rules.block],
        "approve": [rule.model_dump(exclude_defaults=True) for rule in rules.approve],
        "weights": rules.weights.model_dump(),
        "wave": rules.wave.model_dump(),
        "no_shows": rules.no_shows.model_dump(),
    }
