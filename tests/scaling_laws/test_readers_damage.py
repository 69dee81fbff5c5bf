"""Damaged files of other tools: a log, or the documented error; nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling_laws.runs import RunLogError, read_runs

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.sampled_from(["N/A", "{'a': 1}", "{" * 300, "[" * 300 + "1", "a=b,c", "\ud800"]),
)  # fmt: skip
NAMES = st.sampled_from(
    ["step", "eval_loss", "loss", "train_loss", "epoch", "mmlu", "acc,none", "acc_stderr,none",
     "run_id", "status", "value", "key", "effective", "_step", "summary.loss", "config.loss"]
)  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)
TOOLS = st.sampled_from(
    [
        ("log_history", "global_step", "best_global_step", "trial_params", "num_input_tokens_seen"),
        ("results", "n-samples", "n-shot", "config", "group_subtasks", "model_name"),
        ("config", "summary", "name", "state", "tags"),
        ("info", "data", "inputs"),
        ("run_id", "status", "metrics.loss", "params.loss", "_step", "_runtime", "id", "name"),
        ("runs",),
    ]
)


def damaged(names: tuple[str, ...]) -> st.SearchStrategy[Any]:
    whole = st.fixed_dictionaries(
        {}, optional={name: st.one_of(JSON, st.lists(JSON, max_size=3)) for name in names}
    )
    return st.one_of(whole, st.lists(whole, max_size=3))


@given(found=TOOLS.flatmap(damaged), checkpoints=st.booleans())
@settings(max_examples=400, deadline=None)
def test_any_content_makes_a_log_or_the_documented_error(
    tmp_path_factory: pytest.TempPathFactory, found: Any, checkpoints: bool
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    path = folder / "a" / "any.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    for source in (path, folder):
        try:
            log = read_runs(source, checkpoints=checkpoints)
        except RunLogError:
            continue
        assert not set(log.rows) & set(log.rejected["row"])
        repr(log)


@given(at=st.floats(0, 1), junk=st.binary(max_size=8))
@settings(max_examples=150, deadline=None)
@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.iterdir()))
def test_torn_and_overwritten_files(
    tmp_path_factory: pytest.TempPathFactory, name: str, at: float, junk: bytes
) -> None:
    content = (FIXTURES / name).read_bytes()
    cut = round(at * len(content))
    path = tmp_path_factory.getbasetemp() / f"damaged{Path(name).suffix}"
    for bad in (content[:cut] + junk, content[:cut] + junk + content[cut + len(junk) :]):
        path.write_bytes(bad)
        try:
            log = read_runs(path)
        except RunLogError:
            continue
        assert not set(log.rows) & set(log.rejected["row"])
