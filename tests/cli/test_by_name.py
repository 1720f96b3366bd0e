import sys

import pytest
import typer

from pullback.cli.by_name import arguments_named, function_named, make_importable


@pytest.fixture(autouse=True)
def importable(rules):
    make_importable()


def test_the_current_folder_comes_last_and_once(rules):
    make_importable()
    assert sys.path[-1] == str(rules) and sys.path.count(str(rules)) == 1


def test_function():
    assert function_named("--rule", "my_rules:plain")(3) == 9


@pytest.mark.parametrize("name", ["ARGS", "LIST", "example"])
def test_positional_arguments(name):
    (x,), keywords = arguments_named("--args", f"my_rules:{name}")
    assert x.tolist() == [1, 2, 3, 4] and keywords == {}


def test_keyword_arguments():
    (x,), keywords = arguments_named("--args", "my_rules:PAIR")
    assert x.tolist() == [1, 2, 3, 4] and keywords == {"scale": 3}


def test_a_list_of_a_tuple_and_a_dict_is_two_arguments(rules):
    (rules / "my_rules.py").write_text("PARAMS = [(1.0, 2.0), {'x': 3.0}]")
    assert arguments_named("--args", "my_rules:PARAMS") == (((1.0, 2.0), {"x": 3.0}), {})


@pytest.mark.parametrize(
    ("find", "name", "message"),
    [
        (function_named, "my_rules", "--it: expected package.module:function, got 'my_rules'"),
        (function_named, "no_rules:f", "--it: cannot import no_rules: ModuleNotFoundError: No module named 'no_rules'"),
        (function_named, "my_rules:nothing", "--it: there is no nothing in my_rules"),
        (function_named, "my_rules:NUMBER", "--it: expected a function, but my_rules:NUMBER is of type int"),
        (arguments_named, "my_rules:nothing", "--it: there is no nothing in my_rules"),
        (arguments_named, "my_rules:broken", "--it: my_rules:broken() raised ZeroDivisionError: division by zero"),
        (
            arguments_named,
            "my_rules:X",
            "--it: expected a tuple or list of arguments, or (a tuple of arguments, a dict of keyword arguments), but "
            "my_rules:X gives ndarray",
        ),
    ],
)
def test_refused_in_one_sentence(capsys, find, name, message):
    with pytest.raises(typer.Exit) as exited:
        find("--it", name)
    assert exited.value.exit_code == 2
    assert capsys.readouterr() == ("", f"pullback: {message}\n")
