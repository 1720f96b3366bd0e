import pytest
import torch

from pullback.parity.layers.refused import refuse_what_cannot_be_run


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (torch.nn.Linear, r"original is the class Linear, and no model yet: make one, Linear\(\.\.\.\)"),
        (torch.nn.functional.relu, "original must be a torch.nn.Module; got function"),
        (torch.nn.Sequential(torch.nn.LazyLinear(3)), "0.weight of the original is made at its first call"),
        (torch.nn.Linear(2, 2, device="meta"), "weight of the original is on the meta device"),
    ],
    ids=["class", "function", "lazy", "meta"],
)
def test_refused_in_one_sentence(module, message):
    with pytest.raises((TypeError, ValueError), match=message):
        refuse_what_cannot_be_run(module)


def test_a_module_is_let_be():
    refuse_what_cannot_be_run(torch.nn.Linear(2, 2))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_script_module_is_refused():
    traced = torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2))
    with pytest.raises(TypeError, match="ScriptModule, whose layers cannot be watched"):
        refuse_what_cannot_be_run(traced)
