"""What of the catalogue F1 to F56 is not played here, and why."""

NEEDS_SHOP = "needs the shop, which does not exist yet"
NEEDS_SUBSCRIBERS = "needs webhooks, which do not exist yet"

ABSENT = {
    "F34": "nothing reads the oplog: the relay scans, so there is nothing to fall behind",
    "F40": NEEDS_SHOP,
    "F41": NEEDS_SHOP,
    "F42": "needs points that expire, which do not exist yet",
    "F44": NEEDS_SUBSCRIBERS,
    "F45": NEEDS_SUBSCRIBERS,
    "F46": "needs the link to the provincial cloud, which does not exist yet",
    "F53": "needs a read model that is rebuilt from the event log, which does not exist yet",
}
"""By the parts that they need."""
ELSEWHERE = {
    "F48": "tests/e2e/test_security_tokens.py",
}
"""Shown otherwise, or in another way."""
