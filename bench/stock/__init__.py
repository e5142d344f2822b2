"""The same work on stock nameko: its entrypoints, dispatcher and handlers, direct writes, no guarantee."""
