"""Due dates of the standard table: any tier, category and urgency, from any moment of two years."""

import random
import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.report import Figure
from bench.rounds import Settings, WrongResult
from bench.servers import Servers
from services.contracts.registry import Category, Tier
from services.dispatch.deadlines import table

FROM = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 730
URGENT = 0.1
AT_LEAST = 100_000  # a second

details: dict[str, Any] = {}


def measure(_: Servers, settings: Settings) -> list[Figure]:
    chance, standard = random.Random(DAYS), table("standard", FROM)
    moments = [
        FROM + timedelta(seconds=chance.randrange(DAYS * 24 * 3600)) for _ in range(settings.of(100_000, 10_000))
    ]
    tiers, categories = (Tier.STATION, Tier.INSTITUTE, Tier.CENTER), tuple(Category)
    asked = [
        (chance.choice(tiers), chance.choice(categories), chance.random() < URGENT, None, moment) for moment in moments
    ]
    rates = []
    for _ in range(settings.rounds + 1):
        begun = time.perf_counter()
        due = [standard.due(*one) for one in asked]
        rates.append(len(asked) / (time.perf_counter() - begun))
        if any(day <= moment for day, moment in zip(due, moments, strict=True)):
            raise WrongResult("something is due before it begins")
    note = f"the first round, which also learns the calendar: {rates[0]:,.0f}"
    return [Figure("due dates", statistics.median(rates[1:]), "/s", at_least=AT_LEAST, note=note)]
