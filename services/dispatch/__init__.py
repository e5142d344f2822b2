"""Dispatch owns orders, offers, deadlines and escalation, and series, whose occurrences become orders.

Publishes: order.placed, offered, accepted, declined, withdrawn, escalated, unmet, started, completed, rated,
closed, cancelled, rejected, reopened.
Subscribes to: site.opened, team.formed, team.updated, item.published, resident.registered, volunteer.registered,
volunteer.updated (what it must know to decide).
"""
