"""A lease in the database: one replica of a service does what need not be done twice at a time.

Nothing depends on it for correctness: publications and escalations are right with two holders too.
"""

import time
from datetime import datetime
from typing import Any

import eventlet
from pymongo import ReturnDocument, WriteConcern
from pymongo.database import Database
from pymongo.errors import PyMongoError

from services.chassis import telemetry

SECONDS = 2.5
RENEWAL = 1.0
"""Seconds between two renewals; one may fail and nothing is lost."""
WATCH = 0.5
"""Seconds between two looks of who waits for it."""

log = telemetry.logger("lease")


class Lease:
    """``held`` turns false by itself when renewal fails. Expiry is judged by the server's clock."""

    def __init__(self, database: Database[dict[str, Any]], name: str, holder: str) -> None:
        # A lost lease is taken again, so it need not wait for a majority.
        self._leases = database.get_collection("leases", write_concern=WriteConcern(w=1))
        self.name, self.holder = name, holder
        self._until = 0.0
        self._renewed = time.monotonic()
        telemetry.LEASE_HELD.set_function(lambda: float(self.held))
        telemetry.LEASE_AGE.set_function(lambda: time.monotonic() - self._renewed)

    @property
    def held(self) -> bool:
        return time.monotonic() < self._until

    def keep(self) -> None:
        """Renew for ever; run in a greenthread of its own."""
        while True:
            try:
                self.renew()
            except PyMongoError as error:
                log.warning("lease not renewed", lease=self.name, error=repr(error))
            eventlet.sleep(RENEWAL if self.held else WATCH)

    def renew(self) -> bool:
        asked = time.monotonic()
        expired = {"$lt": [{"$ifNull": ["$until", datetime.min]}, "$$NOW"]}
        free = {"$or": [{"$eq": ["$holder", self.holder]}, expired]}
        until = {"$add": ["$$NOW", int(SECONDS * 1000)]}
        changes = {
            "holder": {"$cond": [free, self.holder, "$holder"]},
            "until": {"$cond": [free, until, "$until"]},
        }
        lease = self._leases.find_one_and_update(
            {"_id": self.name}, [{"$set": changes}], upsert=True, return_document=ReturnDocument.AFTER
        )
        self._renewed = asked  # by whoever holds it, or we would have it now
        self._until = asked + SECONDS if lease["holder"] == self.holder else 0.0
        return self.held

    def release(self) -> None:
        self._until = 0.0
        self._leases.delete_one({"_id": self.name, "holder": self.holder})
