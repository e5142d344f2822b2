"""Every protection that a scenario names can be switched off, in the code as it is now."""

import subprocess
import sys

import pytest

from deploy.local.environment import ROOT

APPLY = {
    "services": "from tests.faults import mutations as m; [m.apply(name) for name in m.MUTATIONS]",
    "gateway": "from tests.faults import gateway as m; [switch() for switch in m.MUTATIONS.values()]",
    "wrappers": "from tests.faults import wrappers as m; m.apply(','.join(f'{name}:1' for name in m.WRAPPERS))",
}
NAMED = """
from tests.faults import gateway, mutations
from tests.faults.run import SCENARIOS
import tests.faults.scenarios
known = {*mutations.MUTATIONS, *gateway.MUTATIONS, *mutations.ELSEWHERE}
named = {name for scenario in SCENARIOS.values() for name in scenario.without.split(",")}
assert len(named) > 20 and named - {""} <= known, named - known
assert set(gateway.MUTATIONS) <= {*mutations.ELSEWHERE, *mutations.MUTATIONS}
"""


@pytest.mark.parametrize("process", APPLY)
def test_what_a_protection_or_wrapper_takes_the_place_of_is_there(process: str) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", APPLY[process]], cwd=ROOT, check=True, timeout=60)


def test_scenarios_name_protections_that_can_be_switched_off() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", NAMED], cwd=ROOT, check=True, timeout=60)
