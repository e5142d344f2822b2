"""How Sidan is started: entry points, local runtime, broker definitions, reference data."""
