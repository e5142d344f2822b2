"""Reference data: the city of Chengde with its three tiers, what may be ordered there, and a demo population."""
