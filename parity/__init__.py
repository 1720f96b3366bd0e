"""Is this gradient right? Implementations of one computation, each leaf held against a float64 oracle."""

from ._check import check
from .capsule import replay, save_capsule
from .case.saved_values import CapsuleError
from .lesson.mnist import check_mnist
from .lesson.result import Result
from .model.checking import check_model
from .model.model_report import Divergence, ModelReport, Step
from .mutation.score import MutationScore, mutants
from .near import assert_near, assert_near_zero
from .probes.probe import Probe
from .report.report import ParityError, Report
from .roundoff.registry import register_rounding_rule
from .state_dict import from_state_dict, to_state_dict
from .verdict.deviation import Deviation
from .verdict.evaluation import Evaluation
from .verdict.finding import Finding
from .verdict.rows import Row

__all__ = [
    "CapsuleError",
    "Deviation",
    "Divergence",
    "Evaluation",
    "Finding",
    "ModelReport",
    "MutationScore",
    "ParityError",
    "Probe",
    "Report",
    "Result",
    "Row",
    "Step",
    "assert_near",
    "assert_near_zero",
    "check",
    "check_mnist",
    "check_model",
    "from_state_dict",
    "mutants",
    "register_rounding_rule",
    "replay",
    "save_capsule",
    "to_state_dict",
]


def __dir__() -> list[str]:
    return __all__
