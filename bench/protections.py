"""What the guarantees cost where nothing goes wrong: order lives with them, and with all of them switched off."""

from typing import Any

from bench.lives import costs, in_turn
from bench.report import Figure, median_figure
from bench.rounds import Settings
from bench.servers import Servers
from bench.sides import Protected, Side, Unprotected

AT_LEAST = 0.75
"""Of the lives a second without any protection."""

details: dict[str, Any] = {}


def measure(servers: Servers, settings: Settings) -> list[Figure]:
    sides: list[Side] = [Protected(servers), Unprotected(servers)]
    rounds, _ = in_turn(sides, servers, settings, keyed=True)
    rates = {name: [turn.rate for turn in turns] for name, turns in rounds.items()}
    details["CPU per life (ms), with and without protections"] = [costs(name, turns) for name, turns in rounds.items()]
    note = f"every command with its key; off were {', '.join(Unprotected.without)}"
    return [
        median_figure(
            "order lives, protected", "/s", rates["protected"], "unprotected", rates["unprotected"], AT_LEAST, note
        )
    ]
