"""Logs with the columns of `experiments.grids.small`, simulated from laws that are known."""

import json
import zlib

import numpy as np
import pandas as pd

import scaling_laws as sl
from scaling_laws.study import Noise

LEVELS = (0.79, 0.58, 0.37, 0.16)
TWO = (0.58, 0.16)
EXAMPLES = (64, 256, 1024)
FORMATS = ("label", "blended", "cot")
ITEMS = 1000

# Chains: format, examples, seed, what the name says, sizes, columns.
MAIN = [(f, n, s, "", LEVELS, {}) for s in (1, 2) for n in EXAMPLES for f in FORMATS[:2]]
MAIN += [("cot", n, 1, "", LEVELS, {}) for n in EXAMPLES[1:]]
ONE_SHOT = {"schedule": "one-shot"}
ARMS = [
    ("label", 256, 1, "one-shot", TWO, ONE_SHOT),
    ("label", 256, 1, "one-shot-lora", TWO, {**ONE_SHOT, "method": "lora"}),
    ("label", 256, 1, "random", TWO, {**ONE_SHOT, "origin": "scratch"}),
    ("blended", 256, 1, "replay", LEVELS, {}),
]

# What the arms do to the scores.
EFFECTS = {
    "one-shot": {"task_f1": -0.2},
    "one-shot-lora": {"task_f1": -0.2},
    "random": {"task_f1": -0.4},
    "replay": {"quiz": 0.3},
    "pruned": {"task_f1": -0.3},
}


def truth(e, a, b, c, g):
    """Return the parameters of a law by format; c may be one for each."""
    each = c if isinstance(c, tuple) else (c,) * 3
    own = {f"c[{f}]": v for f, v in zip(FORMATS, each, strict=True)}
    return {"e": e, "a": a, "b": b, "g": g, **own}


# General knowledge goes early, and much later with reasoning; the task hardly goes.
TRUE = {
    "task_f1": truth(2.0, 0.5, 0.4, 0.2, 0.8),
    "quiz": truth(0.6, 0.02, 0.3, (1.2, 0.3, 0.3), 1.0),
    "general_kl": truth(0.5, 0.05, 0.3, (0.8, 0.3, 0.3), 0.8),
}
# The task goes first, and with reasoning general knowledge goes earlier than without.
FALSE = {
    "task_f1": truth(2.0, 0.9, 0.4, 0.9, 0.8),
    "quiz": truth(0.6, 0.02, 0.3, (0.02, 0.1, 0.1), 1.0),
}


def above_floor(true, format, examples, kept, chains=MAIN):
    """Return the true score above its floor, over the range above it."""
    centre = np.exp(np.mean([np.log(n) for _, n, *_ in chains]))
    lost = true["a"] * (examples / centre) ** -true["b"]
    lost = lost + true[f"c[{format}]"] * (kept ** -true["g"] - 1.0)
    return 1.0 / (1.0 + np.exp(lost - true["e"]))


def rows_of(chains):
    """Return a row for each distilled student of the chains."""
    rows = []
    for format, n, seed, what, sizes, columns in chains:
        name = "-".join(filter(None, ("small", format, f"n{n}", what)))
        code = f"{zlib.crc32(name.encode()):012x}"
        chain = f"{name}-{code}-s{seed}"
        for stage, kept in enumerate(sizes, 1):
            rows.append(
                {"run_id": f"{chain}/{stage}-distilled", "chain_id": chain, "config_hash": code,
                 "stage": stage, "phase": "distilled", "origin": "pruned", "kept": kept,
                 "schedule": "iterative", "method": "full", "format": format, "examples": n,
                 "seed": seed, "wall_s": 900.0 + stage, "tokens": 41.0 * n, "params": 1e8 * kept,
                 "what": what, **columns}
            )  # fmt: skip
    return pd.DataFrame(rows)


def frame_of(laws, chains, rng=0):
    """Return a log: teachers, students of all chains, and some that were only pruned."""
    frame = rows_of(chains)
    for i, (metric, true) in enumerate(laws.items()):
        noise = Noise(run=0.008, chain=0.004, items=ITEMS if metric == "quiz" else None)
        by_format = ["examples", "kept", "format", "run_id", "chain_id"]
        names = {f for f in FORMATS if (frame["format"] == f).any()}
        here = {k: v for k, v in true.items() if "[" not in k or k[2:-1] in names}
        law = sl.laws.Compressed("additive", by="format")
        scored = sl.simulate(law, frame[by_format], here, noise, (rng + 7 * i), metric=metric)
        columns = [c for c in ("run_id", metric, f"{metric}_n") if c in scored.frame]
        frame = frame.merge(scored.frame[columns], on="run_id")
    pruned = frame[(frame["what"] == "") & (frame["examples"] == 256) & (frame["seed"] == 1)]
    ids = pruned["run_id"].str.replace("distilled", "pruned")
    pruned = pruned.assign(phase="pruned", what="pruned", run_id=ids, tokens=0.0)
    frame = pd.concat([frame, pruned], ignore_index=True)
    for what, changes in EFFECTS.items():
        for metric in changes.keys() & set(laws):
            change, at = changes[metric], frame["what"] == what
            frame.loc[at, metric] = (frame.loc[at, metric] + change).clip(0.0, 1.0)
    frame.loc[frame["phase"] == "pruned", "examples"] = 0
    return pd.concat([_teachers(frame), frame], ignore_index=True).drop(columns="what")


def _teachers(frame):
    """Return the teacher's row of each chain: the same scores in all of them."""
    rows = frame.drop_duplicates("chain_id").copy()
    scores = {"task_f1": 0.86, "quiz": 0.73, "general_kl": 0.5}
    shown = {k: v for k, v in scores.items() if k in frame}
    ids = rows["chain_id"] + "/0-teacher"
    return rows.assign(
        run_id=ids, stage=0, phase="teacher", origin="pretrained", kept=1.0, examples=3584,
        schedule=None, method=None, wall_s=600.0, tokens=150_000.0, params=1e8, **shown,
    )  # fmt: skip


def write_log(path, frame):
    """Write a log as distill does: missing cells are left out."""
    with path.open("w") as stream:
        for row in frame.to_dict("records"):
            told = {k: v for k, v in row.items() if not pd.isna(v)}
            stream.write(json.dumps({"schema_version": 1, **told}) + "\n")
    return path
