"""``python -m bench.profiled <module> <arguments>``: run a module and sample it (see ``sampling``)."""

import runpy
import sys

from bench import sampling

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    sampling.start("-".join(sys.argv))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
