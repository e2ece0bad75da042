"""Names, order, defaults and keyword-only arguments as MLX states them."""

from __future__ import annotations

import enum

import pytest
import signatures
import tables

STATED = {name: text for name, text in signatures.stated().items() if "no public" not in text}
# Two signatures in one; Python's own for enumerations.
LEFT_OUT = {"core.arange", "core.DeviceType", "core.DtypeCategory"}


def test_the_texts_are_read() -> None:
    read = {name for name in STATED.keys() - LEFT_OUT if signatures.form_of_text(STATED[name])}
    # The rest takes no arguments.
    assert all(
        "()" in STATED[name] or "(self)" in STATED[name] for name in STATED.keys() - LEFT_OUT - read
    )
    assert len(STATED) > 550


@pytest.mark.parametrize("name", sorted(STATED.keys() - LEFT_OUT))
def test_signature(name: str) -> None:
    try:
        value = signatures.found(name)
    except (AttributeError, ImportError):
        page = (tables.DOCS / "names.md").read_text()
        assert f"`{name.rpartition('.')[2]}`" in page, f"{name} is lacking and names.md is silent"
        return
    assert not isinstance(value, enum.EnumMeta)
    got = signatures.form_of(value)
    if got is None:
        # Types of CPython's own making state nothing; their constructors are tested by use.
        assert name in ("core.array", "core.custom_function")
        return
    if name.startswith("core.array.") and got and got[0][0] in ("a", "x", "array"):
        got = got[1:]
    expected = signatures.form_of_text(STATED[name])
    assert expected is not None
    assert not signatures.differences(expected, got)


def test_spread_takes_a_correction() -> None:
    import lamina.core as mx

    x = mx.array([1.0, 2.0, 4.0])
    assert x.var(correction=1).item() == x.var(ddof=1).item() == mx.var(x, ddof=1).item()
    assert x.std(0, True, 1, stream=mx.cpu).shape == (1,)
