"""The registry owns sites, posts, teams, volunteers, residents, service items, accounts, totals per volunteer.

Publishes: site.opened, team.formed, item.published, volunteer.registered, volunteer.updated, resident.registered.
Subscribes to: hours.effective, hours.reversed, points.deposited, points.reversed (totals per volunteer).
"""
