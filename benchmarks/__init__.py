"""How long it takes: ours against jax, torch, optax and NumPy. `pullback bench` runs it; see __main__.py."""
