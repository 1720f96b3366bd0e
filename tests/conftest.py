"""Strict where users may be lax: shapes are checked, promotion of dtypes or ranks is an error, warnings are errors."""

import functools
import hashlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def cpu() -> str:
    """A name for this kind of processor: what is compiled for one may not run on another."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else [platform.processor()]
    kind = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))} or set(lines[:1]))
    return f"{platform.machine()}-{hashlib.sha256(repr(kind).encode()).hexdigest()[:8]}"


# What was compiled once is loaded, in this process and in those that tests start: they inherit these variables. A
# program's key is its text, the compiler's version and the options, so whatever changed is compiled anew. To compile
# all anew: JAX_ENABLE_COMPILATION_CACHE=false.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".jax_cache" / cpu()))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# Under nohup, or in the background of a script, Ctrl-C is ignored, and what tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A worker of pytest-xdist says 80, and reports are as wide as that then.
os.environ.pop("COLUMNS", None)

if "PYTEST_XDIST_WORKER" in os.environ:
    # Two workers on two cores: torch's second thread would wait for the other worker, and burn its time.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402

# Before anything imports pullback: the hook checks every annotated shape at call time, where the annotations have some.
SHAPED = ["pullback.functional", "pullback.parallel", "pullback.data"]
hook = jaxtyping.install_import_hook(SHAPED, "beartype.beartype")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.devices()  # counted once and for all: whichever test came first could ask for two of the CPU

# Tests marked `eight_devices`: this process has one device, as a user's has, so one child with eight of the CPU runs
# all that were asked for, and each says here what came of it there.
EIGHT, OUTCOMES = {"JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}, "PULLBACK_TEST_OUTCOMES"
of_child = pytest.StashKey[dict[str, list[Any]]]()


def pytest_configure(config):
    config.addinivalue_line("markers", "eight_devices: runs in a child process that makes eight devices of the CPU")
    config.addinivalue_line("markers", "slow: left out by `make test-fast`")


# What `make test-fast` leaves out: whole files by their measured time, and every test that plants many errors, runs on
# eight devices, or starts processes.
SLOW = {
    *("cli/test_current_folder", "package/test_signals"),
    *("cli/test_app", "cli/test_parity_command", "cli/test_pytest_plugin"),
    *("data/test_fetch", "data/test_mutated_files", "data/test_transfer"),
    *("cli/test_ending", "cli/test_outputs", "cli/test_watching", "parity/report/test_names"),
    *(
        "functional/test_activation_stats",
        "functional/test_algebra",
        "functional/test_avg_pool2d",
        "functional/test_conv2d",
        "functional/test_divided",
        "functional/test_export",
    ),
    *("functional/test_fused", "functional/test_fused_loss", "functional/test_init", "functional/test_leaky_relu"),
    *("functional/test_linear_cross_entropy", "functional/test_logit_tiles"),
    *("functional/test_log_softmax", "functional/test_max_pool2d", "functional/test_softmax_cross_entropy"),
    *("functional/test_shifted_relu", "functional/test_weight_grad", "functional/experimental/test_fused_pallas"),
    *("parity/lesson/test_chain", "parity/lesson/test_mnist", "parity/lesson/test_sharded", "parity/test_check"),
    *("parity/mutation/test_score", "parity/probes/test_transformations", "parity/roundoff/test_products"),
    *("functional/test_mlp", "parity/test_capsule"),
    *(
        "test_benchmarks",
        "test_catalog",
        "test_docs",
        "test_inputs",
        "test_lesson",
        "test_mutants",
        "test_readme",
        "test_rivals",
    ),
}


def pytest_collection_modifyitems(items):
    for item in items:
        file = item.path.relative_to(ROOT / "tests").with_suffix("").as_posix()
        others = {"start_processes"}.intersection(item.fixturenames) or item.get_closest_marker("eight_devices")
        if file in SLOW or "planted" in item.name or others:
            item.add_marker("slow")


# With `-n 2`, any worker may get any test. Tests of one kind below go to one worker; a word in their file tells which.
TOGETHER = {
    "eight_devices": "one child runs them",
    "start_processes": "they have deadlines, so one run of many processes at a time",
    'scope="module"': "",  # the file's tests share what is made once
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            words = [word for word in TOGETHER if word in text_of(config.rootpath / file)]
            return nodeid if not words else words[0] if TOGETHER[words[0]] else file

    return Scheduling(config, log)


@functools.cache
def text_of(file: Path) -> str:
    return file.read_text()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if pyfuncitem.get_closest_marker("eight_devices") is None or os.environ.items() >= EIGHT.items():
        return None
    session = pyfuncitem.session
    if of_child not in session.stash:
        items = [item for item in session.items if item.get_closest_marker("eight_devices")]
        session.stash[of_child] = run_with_eight_devices(items, session.config)
    outcome, text = session.stash[of_child].get(pyfuncitem.nodeid, ("not run", session.stash[of_child]["child"][1]))
    if outcome != "passed":
        pytest.fail(f"with eight devices: {outcome}\n{text}", pytrace=False)
    return True


def run_with_eight_devices(items, config) -> dict[str, list[Any]]:
    """The node id of each test -> what came of it, and the text; "child" -> the exit code and what it printed."""
    file = config._tmp_path_factory.mktemp("eight") / "outcomes"
    tests = [f"{item.path}::{item.nodeid.partition('::')[2]}" for item in items]
    command = [sys.executable, "-m", "pytest", "--import-mode=importlib", f"--rootdir={config.rootpath}", "-q", *tests]
    child = subprocess.run(
        command, env=os.environ | EIGHT | {OUTCOMES: str(file)}, capture_output=True, text=True, timeout=900
    )
    outcomes: dict[str, list[Any]] = {"child": [child.returncode, (child.stdout + child.stderr)[-4000:]]}
    for line in file.read_text().splitlines() if file.is_file() else []:
        nodeid, *outcome = json.loads(line)
        # Set-up, call and tear-down each report: one that did not pass counts.
        if outcomes.get(nodeid, ["passed"])[0] == "passed":
            outcomes[nodeid] = outcome
    return outcomes


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    # Each file begins with nothing compiled in this process, whatever ran before; and memory does not grow by a
    # gigabyte a file.
    if nextitem is None or nextitem.path != item.path:
        jax.clear_caches()


def pytest_runtest_logreport(report):
    if OUTCOMES in os.environ:
        with open(os.environ[OUTCOMES], "a") as file:
            file.write(json.dumps([report.nodeid, report.outcome, report.longreprtext]) + "\n")


def pytest_terminal_summary(terminalreporter):
    """The files that took longest. What ran in the one child with eight devices is counted together."""
    seconds: dict[str, float] = {}
    for report in sum(terminalreporter.stats.values(), []):
        if isinstance(report, pytest.TestReport):
            eight = "eight_devices" in report.keywords
            name = "(eight_devices)" if eight else report.nodeid.partition("::")[0]
            seconds[name] = seconds.get(name, 0) + report.duration
    if seconds:
        terminalreporter.section("slowest files")
    for name, took in sorted(seconds.items(), key=lambda item: -item[1])[:10]:
        terminalreporter.write_line(f"{took:6.1f} s  {name}")


drawn = pytest.StashKey[dict[str, Any]]()


@pytest.fixture(autouse=True)
def same_draws(request):
    """A file's RNG begins every test in the same state: what a test draws does not depend on which ran before it."""
    rng = getattr(request.module, "RNG", None)
    if rng is not None:
        states = request.session.stash.setdefault(drawn, {})
        rng.bit_generator.state = states.setdefault(request.module.__name__, rng.bit_generator.state)


@pytest.fixture
def as_a_user():
    """Shape annotations off, as they are for users: our own error must then speak."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def root() -> Path:
    """The checkout, for tests of what it holds beside the package."""
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("no checkout around these tests")
    return ROOT


@pytest.fixture(scope="session")
def full_mnist() -> Path:
    """The cache, where it holds the full MNIST."""
    from pullback.data import DataError, cache_dir, load_mnist

    try:
        load_mnist("cache")
    except DataError as error:
        pytest.skip(f"needs the full MNIST: {error}")
    return cache_dir()


@pytest.fixture
def empty_cache(tmp_path, monkeypatch) -> Path:
    """A cache of the test's own, with nothing in it."""
    monkeypatch.setitem(os.environ, "PULLBACK_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("pullback.data.mnist.WARNED", set())
    return tmp_path / "cache"


@dataclass
class Process:
    """One process of a run of many."""

    popen: subprocess.Popen
    out: Path
    err: Path

    @property
    def said(self) -> list[dict[str, Any]]:
        """The JSON that it said so far: gloo prints lines of its own among them."""
        lines = self.out.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith("{")]

    @property
    def stderr(self) -> str:
        return self.err.read_text()

    def ended(self, within: float) -> int:
        """The exit code; fails if it still runs after so many seconds."""
        try:
            return self.popen.wait(within)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still runs after {within} s: {self.popen.args}\n{self.stderr[-2000:]}")


def free_address() -> str:
    with socket.socket() as here:
        here.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{here.getsockname()[1]}"


@pytest.fixture(scope="session")
def start_processes() -> Iterator[Callable[..., list[Process]]]:
    """`start(folder, command, count)`: processes of a run, on this machine, each with `devices` of its CPU.

    only: which of them to start; each: more arguments of one of them; env: process -> its environment, in place of the
    arguments that say where the others are.
    """
    started: list[Process] = []

    def start(folder: Path, command: list[str], count: int, *, devices=2, only=None, each=None, env=None):
        folder.mkdir(exist_ok=True)
        address, new = free_address(), []
        for k in range(count) if only is None else only:
            where = ["--coordinator", address, "--num-processes", str(count), "--process-id", str(k)]
            arguments = [sys.executable, *command, *([] if env else where), *(each or {}).get(k, [])]
            variables = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
            out, err = folder / f"{k}.out", folder / f"{k}.err"
            with out.open("w") as stdout, err.open("w") as stderr:
                popen = subprocess.Popen(
                    arguments, env=variables | (env(k) if env else {}), stdout=stdout, stderr=stderr
                )
            new.append(Process(popen, out, err))
        started.extend(new)
        return new

    yield start
    for process in started:
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.wait()


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Waits until something is true; fails after so many seconds."""

    def until(true: Callable[[], Any], within: float = 60) -> None:
        start = time.monotonic()
        while not true():
            if time.monotonic() - start > within:
                pytest.fail(f"not so within {within} s")
            time.sleep(0.05)

    return until
