"""The parts of the operator's command line: each module adds its commands to the parser with ``add_to``."""
