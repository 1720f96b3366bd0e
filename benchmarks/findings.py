"""What the survey found to be wrong in jax and torch, each proven."""

KNOWN: dict[str, set[tuple[str, str, str]]] = {}
