"""parity.check: is this rule right, who is wrong, and where?"""

import contextlib
import platform
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Any

import jax

from .case.case import Case, take_up
from .case.cotangents import DRAWN
from .case.exits import refusing_exit
from .case.progress import step
from .probes.probe import PROBES, Probe
from .report.report import Report
from .roundoff.products import PRECISIONS, local_device, platform_of, products_of
from .verdict.comparison import Outcome
from .verdict.evaluation import Evaluation, Trusted
from .verdict.finding import Finding, first_line
from .verdict.oracle import choose_oracle, oracle_name

CHECKS = tuple(PROBES)
DTYPES = ("float32", "float64", "bfloat16", "float16")


def check(
    rule: Callable[..., Any],
    *args: Any,
    reference: Callable[..., Any] | None = None,
    torch: Callable[..., Any] | None = None,
    kwargs: dict[str, Any] | None = None,
    torch_kwargs: dict[str, Any] | None = None,
    static_argnums: Sequence[int] = (),
    nondiff: Sequence[str] = (),
    cotangents: Any = None,
    checks: Sequence[str | Probe] = CHECKS,
    dtypes: Sequence[str] | None = None,
    trusted: Trusted = None,
    arithmetic: str | None = None,
    allow_unjudged: bool = False,
    device: str | None = None,
    precision: str | None = None,
    seed: int = 0,
) -> Report:
    """Compare a rule's value and cotangents with plain jax, torch and float64, and say who is wrong where.

    rule: any function of trees of arrays, with one or several outputs: a custom_vjp, a kernel, a whole loss.
    reference: the same maths in plain jax. torch: the same in torch, from tensors to tensors. With neither, the rule's
    own forward without its rules is the reference, and the report says what that cannot see.

    args: floating-point arrays are differentiated, and so are Python floats, which become arrays of the coarsest dtype
    among the arguments. Integer and boolean arrays, random keys, whole numbers, truth values, text, functions and None
    are passed on as they are, and so is what a custom_vjp names in its nondiff_argnums. Anything else that is no array
    is named in static_argnums (positions). kwargs are passed on as they are (torch_kwargs, where torch calls them
    otherwise).
    nondiff: floating-point arguments that are not differentiated (buffers, masks, tables), by name: `mask`, or a single
    leaf, `params[0][1]`. cotangents: your own for the outputs, in the outputs' tree; they are tried beside the drawn
    ones.
    checks: which of CHECKS to make, and Probes of your own; "values" always is. dtypes: which to try beside the
    arguments' own. By default all of DTYPES, as far as the functions run and can be judged in them; with dtypes that
    you name, what cannot be judged in them counts.
    trusted: who is right, "torch" or "reference", where these two disagree. arithmetic: a dtype in which the rule may
    compute although its arguments are finer, "bfloat16" say. allow_unjudged: whether a report is ok though something
    in it could not be judged.
    device: cpu, gpu or tpu, where jax computes (None: where it does by default). precision: jax's matmul precision,
    default, high or highest, with the bound that goes with it on that device; None leaves jax's setting as it is, and
    the bound is that of float32 products. seed: of the random cotangents.

    Raises TypeError or ValueError, naming the argument, for arguments that cannot be checked; ImportError if a torch
    function is given and torch is missing; ValueError, saying where, if a function calls `sys.exit`, which would end
    your own process as if all were well. What else goes wrong inside one implementation is reported, not raised: its
    whole traceback is in `report.errors`.
    """
    probes = probes_of(checks if dtypes is None else [*checks, "dtypes"])
    for name in (*(dtypes or ()), *(() if arithmetic is None else (arithmetic,))):
        if name not in DTYPES:
            what = "arithmetic" if dtypes is None or name not in dtypes else "dtypes"
            raise ValueError(f"{what} must be among {', '.join(map(repr, DTYPES))}; got {name!r}")
    given = {"torch": torch, "reference": reference}
    if trusted is not None and given.get(trusted) is None:
        raise ValueError(f"trusted must be 'torch' or 'reference', and that one given; got {trusted!r}")
    with refusing_exit(), _computing(device, precision) as product_u:
        options = (kwargs, torch_kwargs, static_argnums, nondiff, cotangents, seed, product_u)
        case = take_up(rule, args, reference, torch, *options)
        outcomes, findings, evaluation = examine(case, probes, dtypes, trusted, arithmetic)
        undecided, port = evaluation.undecided, _is_port(evaluation)
        return Report.of(_about(evaluation), outcomes, findings, undecided, port, allow_unjudged)


@contextlib.contextmanager
def _computing(device: str | None, precision: str | None) -> Iterator[float]:
    """jax on that device and at that matmul precision; gives how far an operand of a product is rounded then."""
    if precision is not None and precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    where = local_device(device)
    with contextlib.ExitStack() as settings:
        if device is not None:
            settings.enter_context(jax.default_device(where))
        if precision is not None:
            settings.enter_context(jax.default_matmul_precision(precision))
        yield 0.0 if precision is None else products_of(platform_of(where), precision).u


def probes_of(checks: Sequence[str | Probe]) -> list[Probe]:
    """The probes that are asked for, "values" first. Raises ValueError for an unknown name, TypeError for no probe."""
    for asked in checks:
        if isinstance(asked, str) and asked not in PROBES:
            raise ValueError(f"checks must be among {', '.join(map(repr, CHECKS))}; got {asked!r}")
        if not isinstance(asked, (str, Probe)):
            raise TypeError(f"checks must be names or Probes; got a {type(asked).__name__}")
    own = [asked for asked in checks if isinstance(asked, Probe)]
    return [probe for name, probe in PROBES.items() if name in ("values", *checks)] + own


def _is_port(evaluation: Evaluation) -> bool:
    """Whether torch's function is the original, and there is nothing else: who differs in maths is then the port."""
    case = evaluation.case
    return case.reference is None and case.torch is not None and not evaluation.torch_agrees


def examine(
    case: Case,
    probes: Sequence[Probe],
    dtypes: Sequence[str] | None = None,
    trusted: Trusted = None,
    arithmetic: str | None = None,
) -> tuple[list[Outcome], list[Finding], Evaluation]:
    """What the probes find. Raises ValueError if rule and reference cannot be called, or differ in outputs."""
    outcomes: list[Outcome] = []
    findings: list[Finding] = []
    with case.x64:
        step(f"{case.name}: its first call")
        _same_outputs(case)
        asked = any(probe.name == "dtypes" for probe in probes)
        evaluation = Evaluation(case, (DTYPES if dtypes is None else dtypes) if asked else (), trusted, arithmetic)
        evaluation.dtypes_asked = dtypes is not None
        step(f"{case.name}: oracle")
        choose_oracle(evaluation)
        for number, probe in enumerate(probes, 1):
            step(f"{case.name}: {probe.name}, check {number} of {len(probes)}")
            try:
                for found in probe.look(evaluation):
                    (outcomes if isinstance(found, Outcome) else findings).append(found)  # pyright: ignore
            except Exception as error:
                if PROBES.get(probe.name) is probe:
                    raise
                findings.append(Finding(probe.name, case.name, "FAIL", f"the probe raised {first_line(error)}"))
                errors = {f"probe {probe.name}": "".join(traceback.format_exception(error))}
                outcomes[0] = outcomes[0]._replace(errors=outcomes[0].errors | errors)
    return outcomes, evaluation.findings + findings, evaluation


def _same_outputs(case: Case) -> None:
    """Raises ValueError where the rule's call fails, the reference's outputs are others or cotangents do not fit."""
    shapes = {}
    for who, run in case.in_jax.items():
        try:
            traced = run.traced(case.arguments.leaves)
        except Exception as error:
            hint = ""
            if case.arguments.numbers and isinstance(error, jax.errors.ConcretizationTypeError):
                name = case.arguments.numbers[0]
                hint = f" ({name} came as a Python number and is differentiated; name its position in static_argnums, "
                hint += "if the function needs the number itself)"
            raise ValueError(f"the {who} cannot be called with these arguments: {first_line(error)}{hint}") from error
        shapes[who] = traced.described
        if not traced.floats:
            raise ValueError(f"the {who} has no floating-point output, so there is nothing to differentiate")
    if len(set(map(str, shapes.values()))) > 1:
        raise ValueError(f"the rule returns {shapes['rule']}, the reference {shapes['reference']}: they must be alike")
    _ = case.cotangents


def _about(evaluation: Evaluation) -> dict[str, str]:
    case, device = evaluation.case, local_device()
    torch = "" if case.torch is None else f"torch {version('torch')}, "
    versions = f"{torch}jax {jax.__version__}, pullback {version('pullback')}, Python {platform.python_version()}"
    described = case.arguments.described
    fixed = [name for name in described if name not in case.arguments.diff_names]
    others = [who for who in case.implementations if who != "rule"]
    drawn = DRAWN if case.given is None else f"{DRAWN}, c5 yours"
    precision = getattr(jax.config, "jax_default_matmul_precision", None) or "default"
    return {
        "rule": case.name,
        "arguments": ", ".join(described.values()) + (f"; not differentiated: {', '.join(fixed)}" if fixed else ""),
        "against": ", ".join(others) or "its own forward, differentiated by jax",
        "oracle": f"{oracle_name(evaluation)}, in float64",
        "cotangents": f"{drawn}; seed {case.seed}; each backward is run with all {len(case.cotangents[0])}",
        "device": f"{device.platform} ({device.device_kind}), matmul precision {precision}",
        "versions": versions,
    }
