"""``python -m tests.faults.entry <service>``: a service's process with what a scenario puts around its chassis.

``FAULTS_WRAP``: comma-separated test-only wrappers, as ``duplicate:3,reorder:10,fail:0.05``.
``FAULTS_TRACE``: a folder where each handled event is written down.
``FAULTS_WITHOUT``: a protection that is switched off, to see that a scenario notices (``mutations.py``).
"""

import os

os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")

import eventlet

eventlet.monkey_patch()

import sys  # noqa: E402
import warnings  # noqa: E402

warnings.filterwarnings("ignore", category=DeprecationWarning)

if float(os.environ.get("TEST_CLOCK_OFFSET", "0")):
    import tests.support.clocked  # noqa: F401

from deploy import service  # noqa: E402
from tests.faults import mutations, wrappers  # noqa: E402

if __name__ == "__main__":
    wrappers.apply(os.environ.get("FAULTS_WRAP", ""))
    wrappers.trace(os.environ.get("FAULTS_TRACE", ""))
    wrappers.separate_links(os.environ.get("FAULTS_PUBLISHER_URI", ""))
    mutations.apply(os.environ.get("FAULTS_WITHOUT", ""))
    sys.exit(service.main(sys.argv[1]))
