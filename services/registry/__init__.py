"""The registry owns sites, posts, teams, volunteers with log and totals, residents, service items, accounts,
imports, notifications, and the plain records of a place: organisations, venues, budgets and the like.

Publishes: site.opened, team.formed, team.updated, item.published, volunteer.registered, volunteer.updated,
resident.registered, record.added, record.changed, record.retired.
Subscribes to: hours.effective, hours.reversed, points.deposited, points.reversed (totals per volunteer); of orders
accepted, alerted, appointed, cancelled, completed, escalated, messaged, missed, offered, rejected, unmet and
withdrawn (whom to tell).
"""
