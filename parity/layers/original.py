"""The original: a torch module, run once in float64; every value and cotangent that passes a layer is kept."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..case.torch_arrays import to_numpy, to_torch, torch
from .calls import in_a_line
from .inputs import shapes_of
from .marks import LOSS, STATISTICS, Place
from .recording import Recording, marked, watch
from .refused import refuse_what_cannot_be_run
from .tensors import leaves
from .unrolled import unroll

Cotangents: TypeAlias = Callable[[list[np.ndarray]], Sequence[np.ndarray]]


class Trained(NamedTuple):
    """One training step: all parameters and buffers before and after, and the gradients between them."""

    before: dict[str, np.ndarray]
    grads: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    settings: dict[str, Any]
    """Of the optimizer, and its class as `kind`; {} where it has several groups of parameters."""


class Original:
    """A copy of the module in float64, with dropout off and nothing written in place."""

    def __init__(self, module: Any):
        refuse_what_cannot_be_run(module)
        self.module = copy.deepcopy(module).cpu()
        self.aliases = unroll(self.module)
        """Names that were made for parameters of LSTMs and the like -> the user's names of them."""
        self.parts: dict[str, Any] = dict(self.module.named_modules())
        for part in self.parts.values():
            if isinstance(part, torch.nn.RMSNorm) and part.eps is None:
                dtypes = (parameter.dtype for parameter in part.parameters())
                part.eps = torch.finfo(next(dtypes, torch.get_default_dtype())).eps  # not float64's
            if type(part).__name__.startswith(("Dropout", "AlphaDropout", "FeatureAlphaDropout")):
                part.eval()
            if getattr(part, "inplace", False):
                setattr(part, "inplace", False)  # noqa: B010 - else what was kept would change
        self.module.double()
        for parameter in self.module.parameters():
            parameter.requires_grad_(True)
        self.state = _state(self.module) | {name: to_numpy(b).copy() for name, b in self.module.named_buffers()}
        """Parameters and buffers, by name, as they were before anything ran; nothing here writes on the parameters."""

    def kind(self, path: str) -> str:
        """The name of a layer's class."""
        return type(self.parts[path]).__name__

    @property
    def channels(self) -> int | None:
        """How many channels its first convolution takes; None if it has none."""
        return next((int(part.in_channels) for part in self.parts.values() if hasattr(part, "in_channels")), None)

    def shared_with(self, names: set[str]) -> set[str]:
        """The names of the parameters that are the same ones, by another name."""
        named = dict(self.module.named_parameters(remove_duplicate=False))
        those = {id(named[name]) for name in names if name in named}
        return {name for name, parameter in named.items() if id(parameter) in those}

    def run(
        self,
        inputs: Sequence[np.ndarray],
        kwargs: dict[str, Any],
        cotangents: Cotangents | None,
        loss: Callable[..., Any] | None = None,
    ) -> Recording:
        """The outputs, and where `cotangents(outputs)` gives some for the floating-point ones, every gradient.

        loss: a function of the module's output, whose value is the output then.
        """
        recording, y = Recording(), None
        tensors = [_input(x) for x in inputs]
        hooks = [handle for path, part in self.parts.items() for handle in watch(path, part, recording)]
        try:
            with torch.enable_grad():
                y = self.module(*tensors, **kwargs)
                if loss is not None:
                    y = loss(marked(y, recording, Place(LOSS, "in", 0)))
                    y = marked(y, recording, Place(LOSS, "out", 0))
                    recording.order.append((LOSS, 0))
        except Exception as error:
            self._note_what_raised(error, recording, inputs)
            cotangents = None
        finally:
            for handle in hooks:
                handle.remove()
        self._note_statistics(recording)
        if cotangents is not None:
            try:
                _backward(y, cotangents)
            except Exception as error:
                recording.raised_on_the_way_back = in_a_line(error)
            none = {name: np.zeros(p.shape) for name, p in self.module.named_parameters(remove_duplicate=False)}
            recording.grads = none | _grads(self.module)
            self.module.zero_grad(set_to_none=True)
        self._put_back()
        return recording

    def train(
        self,
        inputs: Sequence[np.ndarray],
        kwargs: dict[str, Any],
        cotangents: Sequence[np.ndarray],
        loss: Callable[..., Any] | None,
        optimizer: Callable[..., Any],
        steps: int,
    ) -> list[Trained]:
        """So many training steps of another copy with `optimizer(parameters)`, each with the same inputs."""
        module, found = copy.deepcopy(self.module), []
        made = optimizer(module.parameters())
        groups = made.param_groups
        settings = {"kind": type(made).__name__, **groups[0]} if len(groups) == 1 else {}
        for _ in range(steps):
            before = _copied(_state(module))
            y = module(*[_input(x) for x in inputs], **kwargs)
            _backward(y if loss is None else loss(y), lambda _: cotangents)
            grads = _copied(_grads(module))
            made.step()
            made.zero_grad(set_to_none=True)
            found.append(Trained(before, grads, _copied(_state(module)), settings))
        return found

    def _note_what_raised(self, error: Exception, recording: Recording, inputs: Sequence[np.ndarray]) -> None:
        """Raises ValueError where no layer had ended."""
        path = recording.begun[-1] if recording.begun else ""
        kind = LOSS if path == LOSS else self.kind(path)
        said = f"{path or 'the model itself'} ({kind}) raised {in_a_line(error)}"
        if not recording.order:
            others = "Where it takes other inputs than the port, give it original_inputs."
            shapes = shapes_of(inputs)
            raise ValueError(
                f"the original cannot be called with inputs of shape {shapes}: {said}. {others}"
            ) from error
        recording.raised = said
        called = {path for path, _ in recording.order}
        recording.order += [(path, 0) for path in self.parts if path not in called]  # their weights are there

    def _note_statistics(self, recording: Recording) -> None:
        """Notes what a batch norm in train mode made of its running statistics."""
        for path, part in self.parts.items():
            for name, role in STATISTICS.items():
                after = getattr(part, name, None)
                if part.training and isinstance(after, torch.Tensor):
                    recording.values[Place(path, role, 0)] = to_numpy(after).copy()

    def _put_back(self) -> None:
        with torch.no_grad():
            for name, buffer in self.module.named_buffers():
                if name in self.state:
                    buffer.copy_(to_torch(self.state[name]))


def _backward(y: Any, cotangents: Cotangents) -> None:
    floats = [leaf for leaf in leaves(y) if leaf.is_floating_point() and leaf.requires_grad]
    bars = [to_torch(np.asarray(bar, np.float64)) for bar in cotangents([to_numpy(leaf) for leaf in floats])]
    torch.autograd.backward(floats, bars)


def _grads(module: Any) -> dict[str, np.ndarray]:
    named = module.named_parameters(remove_duplicate=False)
    return {name: to_numpy(p.grad) for name, p in named if p.grad is not None}


def _state(module: Any) -> dict[str, np.ndarray]:
    """Parameters and buffers by name, in the module's own memory."""
    return {name: to_numpy(tensor) for name, tensor in module.state_dict().items()}


def _copied(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in arrays.items()}


def _dtype_of(part: Any) -> Any:
    return next((parameter.dtype for parameter in part.parameters()), torch.get_default_dtype())


def _input(x: np.ndarray) -> torch.Tensor:
    x = np.asarray(x)
    if x.dtype.kind in "iu":
        return to_torch(x.astype(np.int64))
    return to_torch(x) if x.dtype.kind == "b" else to_torch(np.asarray(x, np.float64)).requires_grad_(True)
