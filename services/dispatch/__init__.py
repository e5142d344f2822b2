"""Dispatch owns orders with their photos, offers, deadlines, escalation, series, whose occurrences become orders,
cases, and requests for support.

Publishes: order.placed, offered, accepted, declined, withdrawn, escalated, unmet, started, completed, rated,
visit_rated, closed, cancelled, rejected, reopened, alerted, messaged, appointed, missed, photographed, joined, left;
case.opened, taken, referred, settled; support.requested, taken, answered, declined, withdrawn, rated.
Subscribes to: site.opened, team.formed, team.updated, item.published, resident.registered, volunteer.registered,
volunteer.updated, household.updated (what it must know to decide).
"""
