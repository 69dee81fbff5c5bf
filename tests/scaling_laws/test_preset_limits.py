"""What published laws say of their own limits: the range that was fitted, and what is unverified.

Beyond its range every law is refused or says so, axis by axis.
"""

import numpy as np
import pytest

import scaling_laws as sl
from scaling_laws.presets.catalogue import _preset, _tables

# A legal value for an axis of which a source states neither end.
USUAL = {
    "examples": 1e5, "unique_tokens": 1e10, "teacher_loss": 2.2, "characters": 1e6,
    "params_nonembedding": 1e8, "kept": 0.5, "score_unpruned": 0.7,
}  # fmt: skip
NAMES = list(sl.presets)
AXES = [(name, axis) for name in NAMES for axis in sl.presets[name].axes]
COMPLETE = [(name, axis) for name, axis in AXES if not sl.presets[name].missing]


def inside(preset) -> dict[str, float]:
    """Return a point that no stated end shuts out."""

    def one(axis, span):
        if span.low is None and span.high is None:
            return USUAL[axis]
        return (0.1 * span.high * span.high if span.low is None else span.low * span.high) ** 0.5

    return {axis: one(axis, span) for axis, span in preset.axes.items()}


def noted(notes) -> dict[str, str]:
    return {note.code: note.sentence for note in notes}


@pytest.mark.parametrize(("name", "axis"), COMPLETE)
def test_just_beyond_a_stated_end_it_is_outside_and_says_so(name, axis):
    preset = sl.presets[name]
    point, span = inside(preset), preset.axes[axis]
    home = preset.predict(point)
    assert home["range"].item() != "outside"
    assert "outside_range" not in noted(home.attrs["notes"])
    for end, away in ((span.low, 0.0), (span.high, np.inf)):
        if end is None:
            continue
        at_end = preset.predict({**point, axis: end})
        assert at_end["range"].item() != "outside"
        beyond = {**point, axis: np.nextafter(end, away)}
        if axis == "kept" and end == 1.0:
            # More than the whole model: no value, so nothing to note.
            with pytest.raises(ValueError, match=r"must be in \(0, 1\]"):
                preset.predict(beyond)
            continue
        table = preset.predict(beyond)
        assert table["range"].item() == "outside"
        sentence = noted(table.attrs["notes"])["outside_range"]
        assert f"{axis} {span}" in sentence


@pytest.mark.parametrize(("name", "axis"), AXES)
def test_an_end_that_is_not_stated_is_named(name, axis):
    preset = sl.presets[name]
    span = preset.axes[axis]
    sentence = noted(preset.notes).get("range_not_stated", "")
    missing = {"lower": span.low, "upper": span.high}
    missing = [side for side, end in missing.items() if end is None]
    assert (f"{axis} (" in sentence) == bool(missing)
    words = sentence.partition(f"{axis} (")[2].partition(")")[0]
    assert [side for side in ("lower", "upper") if side in words] == missing
    if not missing or preset.missing:
        return
    # A million times beyond anything usual: nothing says that it is outside, the note that it may.
    far = {"lower": 1e-6, "upper": 1e6}
    for side in missing:
        table = preset.predict({**inside(preset), axis: inside(preset)[axis] * far[side]})
        assert table["range"].item() == "not stated"
        assert noted(table.attrs["notes"])["range_not_stated"] == sentence


@pytest.mark.parametrize("bad", [0.0, np.nan])
@pytest.mark.parametrize(("name", "axis"), AXES)
def test_nothing_and_no_number_are_refused(name, axis, bad):
    preset = sl.presets[name]
    why = "P0 is not published" if preset.missing else f"{axis} = {bad:g} must be"
    with pytest.raises(ValueError, match=why):
        preset.predict({**inside(preset), axis: bad})


def test_every_law_is_met_and_some_ends_are_open():
    """The tests above test what they say: all 27 laws, and both kinds of ends."""
    assert len({name for name, _ in AXES}) == 27
    ends = [sl.presets[name].axes[axis].open_ends for name, axis in AXES]
    assert set(ends) == {"", "lower end", "lower and upper ends"}


def test_the_best_split_of_a_budget_may_lie_outside():
    """Chinchilla's own budget asks for more parameters than any that were fitted."""
    preset = sl.presets["chinchilla/besiroglu-2024"]
    table = preset.optimum([1e21, 5.76e23])
    assert table["range"].tolist() == ["inside", "outside"]
    assert table["params"].iloc[1] > preset.axes["params"].high
    assert "1 of 2 points lie outside" in noted(table.attrs["notes"])["outside_range"]
    table = sl.presets["supervised/busbridge-2025"].optimum(1e21)
    assert table["range"].tolist() == ["not stated"]
    assert "tokens (lower end)" in noted(table.attrs["notes"])["range_not_stated"]


# --- what is unverified ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in NAMES if not sl.presets[n].verified])
def test_unverified_constants_say_so_everywhere(name):
    preset = sl.presets[name]
    for shown in (repr(preset), preset._repr_html_()):
        assert "UNVERIFIED" in shown
        assert "not verified against the paper" in shown
    assert not preset.frame.loc[list(preset.unverified), "verified"].any()
    assert preset.frame["verified"].sum() == len(preset.symbols) - len(preset.unverified)
    assert any(n.code == "unverified" for n in preset.notes)
    if not preset.missing:
        table = preset.predict(inside(preset))
        assert not table["verified"].any()
        assert any(n.code == "unverified" for n in table.attrs["notes"])


def test_one_unverified_constant_is_named_and_so_is_the_range_that_rests_on_it():
    """The tokens a step of T5 are not verified: neither aD nor the range of tokens is."""
    preset = sl.presets["sparsity/frantar-2023-t5"]
    assert preset.unverified == ("aD",)
    assert not preset.range_verified
    assert repr(preset).startswith("sparsity/frantar-2023-t5 (UNVERIFIED aD)")
    notes = {n.code: n.sentence for n in preset.notes}
    assert notes["unverified"].startswith("Of the constants aD is not verified")
    assert "range_unverified" in notes
    steps = sl.presets["sparsity/frantar-2023-t5-code"]
    assert steps.verified
    assert steps.range_verified


def test_an_unverified_constant_must_be_one():
    bare = "kaplan/kaplan-2020-params"
    (entry,) = (table[bare] for table in _tables() if bare in table)
    entry = {**entry, "unverified": ["Dc"]}
    with pytest.raises(ValueError, match="preset bare: unverified = 'Dc' is no constant of it"):
        _preset("bare", entry, {})
