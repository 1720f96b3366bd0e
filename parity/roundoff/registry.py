"""The rounding rule of each primitive: ours, and those that users register."""

from jax.extend.core import Primitive

from .bounded import Rule
from .rules import arithmetic, comparisons, elementary, linalg, movement, ordering, special, sums

ROOMS = (arithmetic, sums, elementary, special, comparisons, ordering, movement, linalg)
RULES: dict[str, Rule] = {name: rule for room in ROOMS for name, rule in room.RULES.items()}


def register_rounding_rule(primitive: Primitive | str, rule: Rule) -> Rule | None:
    """Says how far the results of a jax primitive may be off; `check` then uses it in its bounds.

    primitive: the primitive (`jax.lax.erf_inv_p`, or one of your own) or its name in a jaxpr.
    rule: `(rounding, eqn, *inputs) -> Bounded`, or a list of them where the primitive has several results. Each input
    is a `Bounded`: its value in float64, and a bound on its error (None where there is none). `rounding.rounded(eqn,
    value, carried, times)` makes the result: `carried` is how far the inputs' errors move it, `times` how many
    roundings the operation itself makes. Everything a rule needs is in `pullback.parity.roundoff`; an example is in
    docs/how-it-decides.md.

    Returns the rule that it replaces, or None. Raises TypeError for what is no primitive, or no function.
    """
    if not isinstance(primitive, (Primitive, str)):
        raise TypeError(f"primitive must be a jax primitive or its name; got a {type(primitive).__name__}")
    if not callable(rule):
        raise TypeError(f"rule must be a function (rounding, eqn, *inputs) -> Bounded; got a {type(rule).__name__}")
    name = primitive if isinstance(primitive, str) else primitive.name
    replaced = RULES.get(name)
    RULES[name] = rule
    return replaced
