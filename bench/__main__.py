"""``python -m bench``: run the comparisons, print one table, keep the results."""

import argparse
import importlib
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

from bench.report import Report, machine, versions
from bench.rounds import Settings, progress
from bench.servers import Servers, servers

ALL = (
    "relay", "pipeline", "latency", "lives", "protections", "acceptances", "escalation", "due_dates", "matching",
    "search", "imports", "footprint",
)  # fmt: skip
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    warnings.filterwarnings("ignore", message=r"\s*Eventlet")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    options = parsed()
    settings = Settings(options.seconds or (15.0 if options.quick else 60.0), options.rounds, options.quick)
    started = machine()
    with servers() as running:
        report = Report(vars(options), started, versions(server_versions(running)))
        for name in options.only:
            progress(f"{name} …")
            try:
                benchmark = importlib.import_module(f"bench.{name}")
                report.figures += benchmark.measure(running, settings)
                report.details |= getattr(benchmark, "details", {})
            except Exception as error:  # the other figures are still worth having
                traceback.print_exc()
                report.failures[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    print(report.table())
    for name, reason in report.failures.items():
        print(f"{name} failed: {reason}")
    if options.json:
        report.write_json(options.json)
    else:
        print(f"written to {report.write(RESULTS)}")
    return 1 if report.failures else 0  # a missed target is a finding, not an error


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", type=names, default=ALL, help=f"comma-separated, of {','.join(ALL)}")
    parser.add_argument("--seconds", type=float, help="of each side in a round of lives (60; quick: 15)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side; medians count")
    parser.add_argument("--quick", action="store_true", help="small counts, to see that it runs")
    parser.add_argument("--json", type=Path, help="write here, and nothing under bench/results")
    return parser.parse_args()


def names(text: str) -> tuple[str, ...]:
    wanted = tuple(text.split(","))
    unknown = set(wanted) - set(ALL)
    if unknown:
        raise argparse.ArgumentTypeError("unknown: " + ", ".join(sorted(unknown)))
    return wanted


def server_versions(running: Servers) -> dict[str, str]:
    with running.channel() as channel:
        properties: dict[str, Any] = channel.connection.server_properties
    broker = properties["version"]
    return {"rabbitmq": str(broker), "mongodb": str(running.mongo.server_info()["version"])}


if __name__ == "__main__":
    sys.exit(main())
