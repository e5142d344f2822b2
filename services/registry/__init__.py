"""The registry owns sites, posts, teams, volunteers with log and totals, residents, service items, accounts,
imports.

Publishes: site.opened, team.formed, team.updated, item.published, volunteer.registered, volunteer.updated,
resident.registered.
Subscribes to: hours.effective, hours.reversed, points.deposited, points.reversed (totals per volunteer).
"""
