"""Many processes, one program: start them, and end them when one is lost. The engine is `jax.distributed`.

Every process runs the same script. A collective (an all-reduce, say) waits for all of them, so a process that ends
early would leave the others waiting. The engine notices by the connections of the collective that broke, else by the
heartbeats that stay away, and ends the others: by an error, or at once, by abort, where the main thread is waiting and
no Python can run. A sentence is printed in both cases.
"""

import contextlib
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator

import jax

TIMEOUT = 20
"""Seconds: for all processes to come together, and for one that went silent to be missed."""


class ProcessLost(RuntimeError):
    """A collective failed, most likely because another process of the run ended."""


@contextlib.contextmanager
def processes(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    detect: bool = False,
    timeout: int = TIMEOUT,
) -> Iterator[None]:
    """`with processes(...)`: what is inside runs on the devices of all processes together. The same on one or many.

    coordinator: `HOST:PORT`, the address where process 0 listens. num_processes: how many there are. process_id: which
    one this is, from 0. With none of the three and without detect there is one process, and nothing is started; what is
    missing of the three, or all of it with detect, jax finds where it runs under SLURM, on Cloud TPU, under Open MPI or
    Kubernetes. It must be entered before jax computes anything. timeout: seconds to wait for the other processes, and
    for one that went silent.

    Raises ValueError for arguments that do not fit, ConnectionError where the coordinator cannot be reached, or its
    port is taken, ProcessLost where a collective fails inside. Where jax must abort the process, stderr says so.
    """
    if coordinator is None and num_processes is None and process_id is None and not detect:
        yield
        return
    _check(coordinator, num_processes, process_id)
    if coordinator is not None and process_id == 0:
        _check_free(coordinator)
    elif coordinator is not None and process_id is not None:
        _wait_for(coordinator, timeout)
    _configure()
    goodbye = _last_words(process_id, num_processes, timeout)
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=timeout,
            shutdown_timeout_seconds=timeout,
        )
    except (TypeError, ValueError, RuntimeError) as error:
        goodbye()
        missing = None in (coordinator, num_processes, process_id)
        hint = ". Give coordinator, num_processes and process_id" if missing else ""
        raise ValueError(f"processes: {_first_line(error)}{hint}") from error
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not any(word in str(error) for word in ("Gloo", "gloo", "NCCL", "coordination", "peer", "heartbeat")):
            raise
        raise ProcessLost(
            f"process {jax.process_index()} of {jax.process_count()}: a collective failed, most likely because another "
            f"process ended ({_first_line(error)})"
        ) from error
    else:
        # Waits for the others, so that nobody leaves while another still needs the coordinator. After an error jax does
        # that at exit, when the error is printed: where the others never come, it aborts.
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            jax.distributed.shutdown()
    finally:
        goodbye()


def _check(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    if coordinator is not None:
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"processes: coordinator must be HOST:PORT; got {coordinator!r}")
    if num_processes is not None and num_processes < 1:
        raise ValueError(f"processes: num_processes must be at least 1; got {num_processes}")
    if process_id is not None and (process_id < 0 or process_id >= (num_processes or process_id + 1)):
        raise ValueError(f"processes: process_id must be 0 to num_processes - 1; got {process_id} of {num_processes}")


def _wait_for(coordinator: str, timeout: int) -> None:
    """Returns when the coordinator listens: jax itself would abort, without an error to catch, where it never does."""
    host, _, port = coordinator.rpartition(":")
    until = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=timeout).close()
            return
        except OSError as error:
            if time.monotonic() > until or isinstance(error, socket.gaierror):
                raise ConnectionError(
                    f"processes: no coordinator at {coordinator} within {timeout} s: {error.strerror or error}. "
                    "Process 0 must run there, and its port be open"
                ) from None
            time.sleep(0.2)


def _check_free(coordinator: str) -> None:
    """jax would crash where something else listens there, without a word of that."""
    with socket.socket() as here:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            here.bind(("", int(coordinator.rpartition(":")[2])))
        except OSError as error:
            raise ConnectionError(
                f"processes: process 0 cannot listen at {coordinator}: {error.strerror}. Choose another port"
            ) from None


def _configure() -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    with contextlib.suppress(AttributeError):
        # Else jax catches SIGTERM for a checkpoint that nobody here takes, and the process cannot be stopped.
        jax.config.update("jax_enable_preemption_service", False)


def _last_words(process_id: int | None, num_processes: int | None, timeout: int):
    """Where this process ends without a goodbye (aborted, killed), a shell that outlives it says so on stderr."""
    who = "this process" if process_id is None else f"process {process_id} of {num_processes}"
    text = (
        f"pullback: {who} was ended: by a signal, or by jax because another process ended or did not come within "
        f"{timeout} s (what jax says of it is above)"
    )
    script = f"read done || echo {shlex.quote(text)} >&2"
    # A session of its own: Ctrl-C in the terminal, or a scheduler's signal to the group, must not silence it.
    shell = subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE, start_new_session=True)

    def goodbye() -> None:
        with contextlib.suppress(OSError, ValueError):
            shell.communicate(b"done\n", timeout=5)

    return goodbye


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
