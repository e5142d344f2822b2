"""The alerts are of what the processes measure, can be read by Prometheus, and lead to a part of the runbooks."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import promql_parser
import pytest
import yaml

from tests.support.system import ROOT, System

(GROUP,) = yaml.safe_load((ROOT / "deploy/monitoring/alerts.yaml").read_text())["groups"]
RULES: list[dict[str, Any]] = GROUP["rules"]
OF_PROMETHEUS = {"up"}
EXPOSED = re.compile(r"^# TYPE (\S+) ", re.MULTILINE)
PARTS = ("lhs", "rhs", "expr", "args", "vector_selector")
"""Where the parser keeps an expression's parts."""


def metrics_of(rule: dict[str, Any]) -> set[str]:
    return set(_named(promql_parser.parse(rule["expr"])))


def _named(part: Any) -> Iterator[str]:
    if isinstance(part, promql_parser.VectorSelector):
        yield part.name
    for inner in part if isinstance(part, list) else [getattr(part, name, None) for name in PARTS]:
        if inner is not None:
            yield from _named(inner)


def exposed(url: str) -> set[str]:
    return set(EXPOSED.findall(httpx.get(url, timeout=10, trust_env=False).raise_for_status().text))


def anchors() -> set[str]:
    """As the usual pages of repositories make them from headings."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_metric_of_the_alerts_is_measured_by_some_process(system: System) -> None:
    measured = set[str]().union(*(exposed(f"http://127.0.0.1:{port}/metrics") for port in system.metrics.values()))
    wanted = set[str]().union(*(metrics_of(rule) for rule in RULES))
    assert {"sidan_outbox_oldest_seconds", "sidan_dead_letters_total", "up"} <= wanted
    assert len(system.metrics) == 4 and wanted - OF_PROMETHEUS <= measured


def test_the_gateway_measures_its_link_and_its_starts(system: System) -> None:
    assert {"sidan_broker_link", "sidan_broker_blocked", "process_start_time_seconds"} <= exposed(
        f"{system.address}/metrics"
    )
    text = httpx.get(f"{system.address}/metrics", trust_env=False).text
    assert "sidan_broker_link 1.0" in text and "sidan_broker_blocked 0.0" in text


def test_a_service_that_is_well_raises_no_alert_by_its_figures(system: System) -> None:
    port = system.metrics["points"]
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10, trust_env=False).text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values["sidan_broker_link"]) == 1 and float(values["sidan_broker_blocked"]) == 0
    queues = [name for name in values if name.startswith("sidan_dead_letters_total{")]
    assert len(queues) == 3, "counted from 0, so that the first one is an increase"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_how_grave_it_is_what_it_means_and_what_to_do(rule: dict[str, Any]) -> None:
    assert metrics_of(rule)
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"] and rule["annotations"]["meaning"]
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "docs/operations.md" and anchor in anchors()


def test_an_expression_that_prometheus_could_not_read_is_found() -> None:
    with pytest.raises(ValueError):
        promql_parser.parse("increase(sidan_dead_letters_total[15m) > 0")
