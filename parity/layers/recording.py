"""What passed the layers of the original, and what came back."""

from dataclasses import dataclass, field

import numpy as np

from .marks import Place


@dataclass
class Recording:
    """What passed the layers of the original."""

    values: dict[Place, np.ndarray] = field(default_factory=dict)
    """Each value, and each cotangent (`place.backward`)."""
    tracked: set[Place] = field(default_factory=set)
    """Those of the values that torch differentiates; a cotangent that did not come is 0."""
    order: list[tuple[str, int]] = field(default_factory=list)
    """The calls of layers, in the order in which they ended: path and number."""
    begun: list[str] = field(default_factory=list)
    """The layers that have begun and not ended; once it is done, those that raised, the innermost last."""
    raised: str = ""
    """What a layer raised midway: there is nothing of what comes after it."""
    raised_on_the_way_back: str = ""
    """What torch raised there."""
    grads: dict[str, np.ndarray] = field(default_factory=dict)
    """The gradient of each parameter; 0 where none reaches it."""

    def cotangent(self, place: Place) -> np.ndarray | None:
        """What came back at a place, 0 where the original stops gradients; None where it differentiates nothing."""
        forward = place._replace(backward=False)
        if place in self.values or forward not in self.tracked:
            return self.values.get(place)
        return np.zeros(self.values[forward].shape)

    def leaves(self, path: str, role: str, call: int) -> list[Place]:
        """The places of a layer's inputs or outputs, in order."""
        found = (Place(path, role, i, call) for i in range(len(self.values)))
        places = []
        for place in found:
            if place not in self.values:
                return places
            places.append(place)
        return places
