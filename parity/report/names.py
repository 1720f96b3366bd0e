"""What comes into a report from outside, made printable: names of rules and leaves, texts of errors."""

import dataclasses
from typing import Any, TypeVar

from pullback.names import printable

from ..verdict.diagnosis import Diagnosis

T = TypeVar("T")


def with_printable_names(value: T) -> T:
    """The value with each text in it made printable, keys too: in dicts, lists, tuples and dataclasses.

    The same object where there is nothing to change.
    """
    changed = _changed(value)
    return value if changed is None else changed


def _changed(value: Any) -> Any:
    """The printable value; None if it is that already."""
    if isinstance(value, str):
        if value.isprintable():
            return None
        return Diagnosis(printable(value), value.kind) if isinstance(value, Diagnosis) else printable(value)
    if isinstance(value, dict):
        keys, values = list(value), list(value.values())
        new_keys, new_values = _changed(keys), _changed(values)
        if new_keys is None and new_values is None:
            return None
        return dict(zip(new_keys or keys, new_values or values, strict=True))
    if isinstance(value, (list, tuple)):
        new = [_changed(each) for each in value]
        if all(each is None for each in new):
            return None
        return type(value)(old if each is None else each for old, each in zip(value, new, strict=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _changed(getattr(value, field.name)) for field in dataclasses.fields(value)}
        fields = {name: new for name, new in fields.items() if new is not None}
        return dataclasses.replace(value, **fields) if fields else None
    return None
