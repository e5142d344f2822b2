"""Points owns the bank of virtue: a double-entry ledger of points.

Publishes: points.deposited, points.reversed.
Subscribes to: hours.effective (award), hours.reversed (reverse the award),
volunteer.registered (open the account).
"""
