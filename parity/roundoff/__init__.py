"""How far apart may right answers lie? What a rounding rule is made of."""

from .bounded import Bounded as Bounded
from .bounded import Rounding as Rounding
from .bounded import Rule as Rule
from .bounded import error_of as error_of
from .bounded import exact as exact
from .bounded import scaled as scaled
from .bounded import total as total
from .bounded import unit_roundoff as unit_roundoff
from .bounds import Bounds as Bounds
from .bounds import rounding_bounds as rounding_bounds
