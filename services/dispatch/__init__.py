"""Dispatch owns orders with their photos, offers, deadlines, escalation, series, whose occurrences become orders, and
cases.

Publishes: order.placed, offered, accepted, declined, withdrawn, escalated, unmet, started, completed, rated,
closed, cancelled, rejected, reopened, alerted, messaged, appointed, missed,
photographed, joined, left; case.opened, settled; support.requested, taken, answered,
declined, withdrawn, rated.
Subscribes to: site.opened, team.formed, team.updated, item.published, resident.registered, volunteer.registered,
volunteer.updated (what it must know to decide).
"""
