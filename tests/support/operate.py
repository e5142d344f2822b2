"""``python -m tests.support.operate dead list``: the operator's command line on the sample services."""

import sys

from deploy.cli import main
from deploy.operate.system import System
from tests.support.sample import AlphaService, BetaService
from tests.support.topology import PUBLISHERS

if __name__ == "__main__":
    sys.exit(main(system=System({"alpha": AlphaService, "beta": BetaService}, PUBLISHERS)))
