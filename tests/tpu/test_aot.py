"""The real TPU compiler on our functions, with no TPU: `make test-tpu`, in an environment that has libtpu."""

import importlib.util

import jax
import pytest

if importlib.util.find_spec("libtpu") is None:
    pytest.skip("needs libtpu, in an environment of its own: make test-tpu", allow_module_level=True)

from pullback.benchmarks import aot, scaling
from pullback.parallel import make_mesh

CASES = {
    f"{title}: {program.name}": program for title, mesh, sizes in aot.meshes() for program in aot.programs(mesh, sizes)
}


@pytest.mark.parametrize("program", CASES.values(), ids=CASES.keys())
def test_it_compiles_it_fits_and_its_collectives_are_those_expected(program):
    of = aot.compiled(program)
    assert of.collectives == program.collectives
    assert 0 < of.memory < aot.MEMORY
    assert program.name == "Pallas kernel" or of.flops > 0  # the compiler does not look into a kernel


def test_every_function_is_compiled_for_one_chip_for_four_and_for_sixteen():
    names = {}
    for program in CASES.values():
        names.setdefault(program.mesh.size, set()).add(program.name)
    of_all = {"forward", "forward_and_backward", "fused step, uint8", "sgd_epoch, one step of it"}
    assert {size: of_all <= found for size, found in names.items()} == {1: True, 4: True, 16: True}
    assert "Pallas kernel" in names[1]


def test_more_chips_have_less_work_each():
    flops = {}
    for program in CASES.values():
        if program.name == "forward_and_backward" and program.mesh.shape["model"] == 1:
            flops[program.mesh.size] = aot.compiled(program).flops
    assert flops[4] == pytest.approx(flops[1] / 4, rel=0.01) and flops[16] == pytest.approx(flops[1] / 16, rel=0.01)


def test_a_gradient_that_is_not_reduced_is_seen():
    """The check on the check: without its all-reduce, the same program has no collective."""
    mesh = make_mesh(devices=aot.chips("v5e:2x2"))
    (with_one,) = [p for p in aot.programs(mesh, aot.LESSON) if p.name == "forward_and_backward"]
    assert aot.compiled(with_one).collectives != ()
    one_chip = make_mesh(devices=aot.chips("v5e:2x2")[:1])
    (without,) = [p for p in aot.programs(one_chip, aot.LESSON) if p.name == "forward_and_backward"]
    assert aot.compiled(without).collectives == ()


def test_a_net_that_is_too_large_for_a_chip_is_refused():
    mesh = make_mesh(devices=aot.chips("v5e:2x2")[:1])
    large = next(p for p in aot.programs(mesh, (784, 50, 1), rows=40_000_000) if p.name == "forward_and_backward")
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED|hbm|HBM"):
        aot.compiled(large)


def test_the_table_of_the_page_is_what_the_compiler_says(root):
    page = (root / "docs" / "accelerators.md").read_text()
    if aot.versions() not in page:
        pytest.skip(f"the page was made with other versions than {aot.versions()}")
    assert aot.table().strip() in page


def test_the_tables_of_scaling_are_what_the_compiler_says(root):
    page = (root / "docs" / "scaling.md").read_text()
    if aot.versions() not in page:
        pytest.skip(f"the page was made with other versions than {aot.versions()}")
    assert scaling.table().strip() in page
    for line in scaling.many_rows().splitlines():
        assert line in page
