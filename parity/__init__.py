"""Parity: the same computation in several implementations, each leaf held against a float64 oracle."""

from .capsule import CapsuleError as CapsuleError
from .capsule import replay as replay
from .capsule import save_capsule as save_capsule
from .compare import Deviation as Deviation
from .compare import Row as Row
from .finding import Finding as Finding
from .mnist import check_mnist as check_mnist
from .mutants import MutationScore as MutationScore
from .mutants import mutants as mutants
from .near import assert_near as assert_near
from .near import assert_near_zero as assert_near_zero
from .report import ParityError as ParityError
from .report import Report as Report
from .result import Result as Result
from .rule import check as check
from .state_dict import from_state_dict as from_state_dict
from .state_dict import to_state_dict as to_state_dict
