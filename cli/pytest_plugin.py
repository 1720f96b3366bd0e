"""The pytest plugin: a fixture `parity`, whose check fails the test, and `--parity-report FILE`.

pytest loads this file at every start, in every project of an environment that has pullback. So it imports nothing of
jax, nor what imports jax, before a test asks for the fixture.
"""

import functools
import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pullback.names import printable

if TYPE_CHECKING:
    from pullback.parity import ModelReport, Report

SCHEMA = 1
"""Of the file that --parity-report writes; each report in it carries its own."""
_REPORTS = pytest.StashKey[list[str]]()
"""Of a test: its reports, as JSON, that no phase (setup, call, teardown) has taken along yet."""


@dataclass(frozen=True)
class Parity:
    """What a test gets from the `parity` fixture."""

    check: Callable[..., "Report"]
    """`pullback.parity.check`, with its arguments. Returns the report, or raises ParityError if that is not ok."""
    check_model: Callable[..., "ModelReport"]
    """`pullback.parity.check_model`, in the same way."""


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> Parity:
    """`parity.check(rule, *args, reference=..., torch=...)`: fails the test, with the report, unless all agree."""
    from pullback.parity import check, check_model

    def kept(checker: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(checker)
        def checked(*args: Any, **options: Any) -> Any:
            report = checker(*args, **options)
            _keep(request.node, report)
            report.raise_if_failed()
            return report

        return checked

    return Parity(kept(check), kept(check_model))


def _keep(item: pytest.Item, report: Any) -> None:
    """The report for --parity-report, its figures for JUnit; of several checks in a test, one after the other."""
    item.stash.setdefault(_REPORTS, []).append(json.dumps(report.to_dict(), allow_nan=False))
    rows = getattr(report, "rows", None)
    model = rows is None  # a ModelReport
    worst = report.worst_budget if model else max((row.worst[1].budget for row in rows), default=0.0)
    item.user_properties += [
        ("parity_rule", report.original if model else report.about.get("rule", "")),
        ("parity_ok", bool(report.ok)),
        ("parity_worst_budget", f"{worst:.3g}"),
    ]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Shows a failed check as its report; hands the reports on with the test's outcome."""
    outcome = yield
    crash = getattr(outcome.longrepr, "reprcrash", None)  # None if another plugin shows failures its own way
    if crash is not None and call.excinfo is not None:
        if _is_parity_error(call.excinfo.value):
            outcome.longrepr = Failure(item, call.excinfo, crash)
        elif refused := _refused(call.excinfo):
            outcome.longrepr = Refusal(item, call.excinfo, crash, refused)
    if _REPORTS in item.stash:
        # With the outcome they also travel, as text, from pytest-xdist's workers to the process that writes the file.
        outcome.parity_reports = item.stash[_REPORTS]
        del item.stash[_REPORTS]
    return outcome


def _is_parity_error(error: BaseException) -> bool:
    parity = sys.modules.get("pullback.parity")  # who raised one has imported it
    return parity is not None and isinstance(error, parity.ParityError)


def _refused(excinfo: pytest.ExceptionInfo[Any]) -> str:
    """What `check` says of arguments or options that it cannot take; "" for any other error."""
    parity = sys.modules.get("pullback.parity")
    if parity is None or not isinstance(excinfo.value, (ImportError, TypeError, ValueError)):
        return ""
    last = excinfo.traceback[-1]
    ours = Path(last.path).is_relative_to(Path(str(parity.__file__)).parent)
    # What we refuse is raised by a statement of ours. An error of any other kind keeps its stack.
    return str(excinfo.value) if ours and str(last.statement).lstrip().startswith("raise ") else ""


def _place_in_test(item: pytest.Item, excinfo: pytest.ExceptionInfo[Any]) -> Any:
    return ([entry for entry in excinfo.traceback if entry.path == item.path] or list(excinfo.traceback))[-1]


def _is_own(path: Path, root: Path) -> bool:
    """Whether the file is one of the project under test, and not of a package that is installed."""
    return path.is_relative_to(root) and not {"site-packages", "dist-packages"}.intersection(path.parts)


class Refusal:
    """How pytest shows a check that could not be made: one sentence, and the line of the test."""

    def __init__(self, item: pytest.Item, excinfo: pytest.ExceptionInfo[Any], crash: Any, said: str):
        entry = _place_in_test(item, excinfo)
        where = f"{Path(entry.path).name}:{entry.lineno + 1}: {str(entry.statement).strip()}"
        lines = [printable(f"{type(excinfo.value).__name__}: {said}", keep="\n"), where]
        # What went wrong inside the user's own function: the place in it.
        cause = traceback.extract_tb(getattr(excinfo.value.__cause__, "__traceback__", None))
        own = [frame for frame in cause if _is_own(Path(frame.filename), item.config.rootpath)]
        lines += [f"{Path(frame.filename).name}:{frame.lineno}: {frame.line}" for frame in own[-1:]]
        self._text = "\n".join(lines)
        self.reprcrash = crash
        self.reprcrash.path, self.reprcrash.lineno = str(entry.path), entry.lineno + 1

    def __str__(self) -> str:
        return self._text

    def toterminal(self, tw: Any) -> None:
        tw.line(self._text)


class Failure:
    """How pytest shows a failed check: the verdict, the line of the test, the report, and no stack of internals.

    The names are those that pytest's terminal and JUnit reporters ask for.
    """

    def __init__(self, item: pytest.Item, excinfo: pytest.ExceptionInfo[Any], crash: Any):
        text = "\n".join(line.rstrip() for line in str(excinfo.value.report).splitlines())
        entry = _place_in_test(item, excinfo)
        verdict = text.splitlines()[-1]
        self._text = f"{verdict}\n{Path(entry.path).name}:{entry.lineno + 1}: {str(entry.statement).strip()}\n\n{text}"
        # Where, and the message. Its first line is in pytest's summary; JUnit's attribute `message` has at least 500
        # characters of it, so what is wrong comes next. (JUnit's text is the whole report.)
        _about, _, rest = text.partition("\n\n")
        self.reprcrash = crash
        self.reprcrash.path, self.reprcrash.lineno = str(entry.path), entry.lineno + 1
        self.reprcrash.message = f"{verdict}\n{rest}"

    def __str__(self) -> str:
        return self._text

    def toterminal(self, tw: Any) -> None:
        tw.line(self._text)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("pullback").addoption(
        "--parity-report",
        metavar="FILE",
        help="write the reports of all parity checks (of the `parity` fixture) to FILE, as JSON",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Raises UsageError, before any test runs, if --parity-report names a file that cannot be."""
    from pullback.files import cannot_be_written

    given = config.getoption("--parity-report")
    if given is None or hasattr(config, "workerinput"):  # a worker of pytest-xdist only sends its reports
        return
    path = config.invocation_params.dir / given
    problem = cannot_be_written(path)
    if problem:
        raise pytest.UsageError(f"--parity-report: {problem}")
    config.pluginmanager.register(ReportFile(path), "pullback-parity-report")


class ReportFile:
    """Gathers the reports of the session and writes them when it ends."""

    def __init__(self, path: Path):
        self._path = path
        self._reports: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        texts = getattr(report, "parity_reports", ())
        self._reports += [{"test": report.nodeid, **json.loads(text)} for text in texts]

    def pytest_sessionfinish(self) -> None:
        from pullback.files import write_whole

        text = json.dumps({"schema": SCHEMA, "reports": self._reports}, indent=1, allow_nan=False)
        try:
            write_whole(self._path, text + "\n")
        except OSError as error:
            reason = f"--parity-report: cannot write {self._path}: {error.strerror}"
            pytest.exit(reason, returncode=pytest.ExitCode.USAGE_ERROR)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.write_sep("-", f"generated parity report: {self._path}")
