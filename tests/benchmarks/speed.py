"""Speed of the core, as ratios to scipy and to other packages on the same data in one run.

    python -m tests.benchmarks.speed
    python -m tests.benchmarks.speed --peers .peers/bin/python

BLAS runs on one thread. A time is the median of ``--repeat`` repetitions, taken in turns, so that a
busy machine slows all of them. The data are the 240 published points of Hoffmann et al. 2022 where
``SCALING_LAWS_DATA`` (or ``../shared/data``) holds them, else as many simulated ones.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

import scaling_laws as sl
from scaling_laws.certificate import certify

ROOT = Path(__file__).resolve().parents[2]
DELTA = 1e-3
L = sl.laws


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, and the most it may be."""

    name: str
    value: float
    limit: float
    unit: str
    seconds: float

    @property
    def met(self) -> bool:
        return self.value <= self.limit

    def __str__(self) -> str:
        verdict = "" if self.met else "  MISSED"
        return (
            f"{self.name:52s}{self.value:9.3g} {self.unit:6s} (at most {self.limit:g})"
            f"{1e3 * self.seconds:12.1f} ms{verdict}"
        )


def chinchilla_points() -> tuple[pd.DataFrame, str]:
    """240 points of params, tokens and loss, and where they come from."""
    beside = ROOT.parent / "shared" / "data"
    path = Path(os.environ.get("SCALING_LAWS_DATA", beside)) / "chinchilla_points.csv"
    if path.is_file():
        points = pd.read_csv(path)
        points = points.drop(points["loss"].nlargest(5).index)
        points["tokens"] = points["train_flops"] / (6 * points["params"])
        return points[["params", "tokens", "loss"]].reset_index(drop=True), "published points"
    rng = np.random.default_rng(0)
    params, flops = np.exp(rng.uniform(np.log([4e7, 6e18]), np.log([1.6e10, 3e21]), (240, 2))).T
    design = pd.DataFrame({"params": params.round(), "tokens": (flops / (6 * params)).round()})
    truth = {"E": 1.82, "A": 480.0, "B": 2100.0, "alpha": 0.348, "beta": 0.366}
    log = sl.simulate(L.Chinchilla(), design, truth, 0.005, 1, metric="loss")
    return log.frame[["params", "tokens", "loss"]], "simulated points"


def in_turns(jobs: Mapping[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """Median seconds of each job, all of them once before any is repeated."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()  # imports and caches
    for _ in range(repeat):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            times[name].append(time.perf_counter() - start)
    return {name: median(seconds) for name, seconds in times.items()}


def scipy_fit(points: pd.DataFrame) -> Callable[[], object]:
    """Return one Huber fit from one start, on centred logarithms."""
    x, z, y = (np.log(points[c].to_numpy()) for c in ("params", "tokens", "loss"))
    x, z = x - x.mean(), z - z.mean()

    def residual(p: np.ndarray) -> np.ndarray:
        return np.logaddexp(np.logaddexp(p[0] - p[3] * x, p[1] - p[4] * z), p[2]) - y

    def run() -> object:
        start = [-1.0, -1.0, 0.5, 0.3, 0.3]
        return least_squares(residual, start, loss="huber", f_scale=DELTA)

    return run


def lmfit_fit(points: pd.DataFrame) -> Callable[[], object]:
    """Return one L-BFGS-B fit of the summed Huber loss by lmfit, from one start."""
    import lmfit

    x, z, y = (np.log(points[c].to_numpy()) for c in ("params", "tokens", "loss"))
    x, z = x - x.mean(), z - z.mean()
    start = lmfit.Parameters()
    for name, value in (("a", -1.0), ("b", -1.0), ("e", 0.5), ("alpha", 0.3), ("beta", 0.3)):
        start.add(name, value=value)

    def loss(p: lmfit.Parameters) -> float:
        v = p.valuesdict()
        curve = np.logaddexp(v["a"] - v["alpha"] * x, v["b"] - v["beta"] * z)
        r = np.abs(np.logaddexp(curve, v["e"]) - y)
        return float(np.where(r <= DELTA, 0.5 * r * r, DELTA * (r - 0.5 * DELTA)).sum())

    return lambda: lmfit.minimize(loss, start, method="lbfgsb")


def against_scipy(points: pd.DataFrame, repeat: int) -> list[Row]:
    """Fit, certificate and draws in units of one scipy fit."""
    log = sl.read_runs(points)
    fit = sl.fit(L.Chinchilla(), log, "loss", delta=DELTA)
    default = sl.fit(L.Chinchilla(), log, "loss")

    jobs = {
        "scipy": scipy_fit(points),
        "lmfit": lmfit_fit(points),
        "fit": lambda: sl.fit(L.Chinchilla(), log, "loss", delta=DELTA),
        "frame": lambda: sl.fit(L.Chinchilla(), points, "loss", delta=DELTA),
        "certificate": lambda: certify(fit.problem, fit.estimate, starts=64, seed=0),
        "case": lambda: fit.bootstrap(1000, "case", 0),
        "default": lambda: default.bootstrap(1000, "wild", 0),
    }
    t = in_turns(jobs, repeat)
    for peer in ("scipy", "lmfit"):
        print(f"one {peer} fit from one start {1e3 * t[peer]:.1f} ms")
    limits = {
        "a Chinchilla fit of a log": ("fit", 2.0),
        "a Chinchilla fit of a frame": ("frame", 2.0),
        "its certificate of 64 starts": ("certificate", 40.0),
        "1000 case resamples": ("case", 40.0),
        "1000 default draws": ("default", 60.0),
    }
    return [
        Row(name, t[job] / t["scipy"], limit, "scipy", t[job])
        for name, (job, limit) in limits.items()
    ]


class Broken(sl.Law):
    """One smooth break (Caballero et al. 2022), differentiated numerically."""

    axes = ("examples",)
    a = sl.Param("limit", upper=10.0)
    b = sl.Param("amplitude", upper=1e3)
    c0 = sl.Param("slope before the break", upper=2.0)
    c1 = sl.Param("change of slope", lower=-1.0, upper=3.0)
    d = sl.Param("where it breaks", lower=10.0, upper=1e7, scale="log")
    f = sl.Param("how smoothly", lower=1e-2, upper=1.0, scale="log")

    def formula(self, x, a, b, c0, c1, d, f):
        u = np.log(x["examples"])
        return a + b * np.exp(-c0 * u - c1 * f * np.logaddexp(0.0, (u - np.log(d)) / f))


def saturating(examples, top, rate, power):
    """A user's own function."""
    return top - rate * examples**-power


def other_laws() -> dict[str, sl.Fit]:
    """The same kernel on other laws."""
    sizes = np.logspace(2, 6, 10).round()
    joint = pd.MultiIndex.from_product(
        [sizes, [1.0, 0.79, 0.58, 0.37, 0.16], ["label", "cot", "blended"]],
        names=["examples", "kept", "format"],
    ).to_frame(index=False)
    truth = {"e": 1.5, "a": 0.8, "b": 0.4, "h": 0.3, "c": 0.3, "g": 1.0}
    compressed = L.Compressed("interaction", by="format")
    kept = pd.DataFrame({"kept": np.repeat(np.linspace(0.1, 1.0, 10), 3), "seed": [0, 1, 2] * 10})
    curve = pd.DataFrame({"examples": np.logspace(2, 6, 40).round()})
    broken = {"a": 0.2, "b": 3.0, "c0": 0.1, "c1": 0.3, "d": 5e3, "f": 0.1}
    of_function = L.from_function(
        saturating, ["examples"], {"top": (0, 2), "rate": (0, 50), "power": (0.01, 3)}
    )
    own = {"top": 0.9, "rate": 3.0, "power": 0.4}
    made = {
        "Compressed by three formats": (compressed, joint, truth, "task_f1"),
        "Collapse": (L.Collapse(), kept, {"acc1": 0.75, "k0": 0.4, "s": 5.0}, "mmlu"),
        "a broken law": (Broken(), curve, broken, "loss"),
        "a user's function": (of_function, curve, own, "task_f1"),
    }
    return {
        name: sl.fit(law, sl.simulate(law, design, values, 0.01, 1, metric=metric), metric)
        for name, (law, design, values, metric) in made.items()
    }


def resampling(repeat: int) -> list[Row]:
    """1000 case resamples of each law."""
    fits = other_laws()
    whole = fits["Compressed by three formats"]
    assert whole.model.p == 12
    assert whole.problem.n == 150
    t = in_turns({n: (lambda f=f: f.bootstrap(1000, "case", 0)) for n, f in fits.items()}, repeat)
    return [Row(f"1000 resamples of {n}", s, 1.5, "s", s) for n, s in t.items()]


def alone(part: str) -> dict[str, float]:
    """Measure a part in a process of its own, whose memory is its own too."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.speed", "--only", part], cwd=ROOT,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def peak() -> float:
    """Most memory that this process has held, in MB."""
    # ru_maxrss counts kilobytes on Linux, bytes on macOS.
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def prediction() -> list[Row]:
    """Time and memory of many predictions."""
    found = alone("predict")
    return [
        Row("100,000 predictions x 1000 draws", found["bands_s"], 3.0, "s", found["bands_s"]),
        Row("... their memory", found["bands_mb"], 300.0, "MB", found["bands_s"]),
        Row("1,000,000 predictions without", found["points_s"], 0.2, "s", found["points_s"]),
    ]


def points(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return points of a law of examples, size and three formats, no two alike."""
    return pd.DataFrame(
        {
            "examples": np.exp(rng.uniform(np.log(1e2), np.log(1e7), n)),
            "kept": rng.uniform(0.1, 1.0, n),
            "format": rng.choice(["label", "cot", "blended"], n),
        }
    )


def front() -> list[Row]:
    """Time and memory of a front of two scores and a price, in every draw."""
    found = alone("front")
    return [
        Row("a front of 100,000 x 1000 draws of 2 scores, CPU", found["cpu_s"], 5.0, "s",
            found["wall_s"]),
        Row("... its memory", found["mb"], 2048.0, "MB", found["wall_s"]),
    ]  # fmt: skip


def front_alone() -> None:
    """Measure a front here and print it as JSON."""
    law = L.Compressed(by="format")
    design = pd.MultiIndex.from_product(
        [np.logspace(2, 6, 8).round(), [1.0, 0.79, 0.58, 0.37, 0.16], ["label", "cot", "blended"]],
        names=["examples", "kept", "format"],
    ).to_frame(index=False)
    truths = {
        "task_f1": {"e": 2.5, "a": 0.8, "b": 0.35, "c": 0.5, "g": 0.9},
        "mmlu": {"e": 1.5, "a": 0.2, "b": 0.3, "c": 0.8, "g": 1.2},
    }
    logs = [sl.simulate(law, design, t, 0.01, 1, metric=m).frame for m, t in truths.items()]
    both = logs[0].sort_index().assign(mmlu=logs[1].sort_index()["mmlu"])
    fits = {name: sl.fit(law, both, name) for name in truths}
    offered = points(100_000, np.random.default_rng(0))
    rate = offered["format"].map({"label": 1.0, "cot": 2.0, "blended": 1.6})
    offered["price"] = offered["kept"] * rate
    sl.decide.pareto(fits, offered.iloc[:10])
    before, wall, cpu = peak(), time.perf_counter(), time.process_time()
    found = sl.decide.pareto(fits, offered)
    spent = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    assert found.values["draws"] == 1000
    print(json.dumps(spent | {"mb": peak() - before}))


def predict_alone() -> None:
    """Measure predictions here and print them as JSON."""
    fit = other_laws()["Compressed by three formats"]
    rng = np.random.default_rng(0)
    many, most = points(100_000, rng), points(1_000_000, rng)
    fit.predict(many.iloc[:10])
    fit.predict(most.iloc[:10], interval=None)
    before = peak()
    start = time.perf_counter()
    table = fit.predict(many)
    bands = time.perf_counter() - start
    memory = peak() - before
    start = time.perf_counter()
    fit.predict(most, interval=None)
    estimates = time.perf_counter() - start
    # 1000 rows fit in one chunk: the same numbers without any cutting.
    for begin in (0, 50_500, 99_000):
        part = slice(begin, begin + 1000)
        whole = fit.predict(many.iloc[part])
        for end in ("estimate", "low", "high"):
            np.testing.assert_array_equal(whole[end].to_numpy(), table[end].to_numpy()[part])
    print(json.dumps({"bands_s": bands, "bands_mb": memory, "points_s": estimates}))


def importing(repeat: int) -> list[Row]:
    """What the package costs over its three light dependencies."""
    code = (
        "import time, numpy, pandas, pydantic; t = time.perf_counter(); import scaling_laws; "
        "print(time.perf_counter() - t)"
    )
    times = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                             check=True).stdout)
        for _ in range(repeat)
    ]  # fmt: skip
    return [Row("import over numpy, pandas, pydantic", median(times), 0.05, "s", median(times))]


def peers(python: str, points: pd.DataFrame, repeat: int) -> None:
    """Print the times of other packages, each run by the interpreter of their environment."""
    folder = Path(__file__).parent / "peers"
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "points.csv"
        points.to_csv(data, index=False)
        for script in sorted(folder.glob("run_*.py")):
            done = subprocess.run(
                [python, str(script), str(data), str(repeat)],
                capture_output=True, text=True, cwd=scratch,
            )  # fmt: skip
            if done.returncode:
                print(f"{script.stem}: failed\n{done.stderr[-2000:]}")
                continue
            for line in done.stdout.splitlines():
                told = json.loads(line)
                print(f"{told['package']:22s}{told['what']:50s}{told['seconds']:10.3f} s")


def core_rows(repeat: int) -> list[Row]:
    """Everything that needs no other environment."""
    log, _ = chinchilla_points()
    return [
        *against_scipy(log, repeat), *resampling(repeat), *prediction(), *front(),
        *importing(repeat),
    ]  # fmt: skip


def main() -> None:
    """Print the table; fail where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter of the peers' environment")
    parser.add_argument("--only", choices=["predict", "front"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only is not None:
        return {"predict": predict_alone, "front": front_alone}[options.only]()
    log, source = chinchilla_points()
    print(f"{source}; median of {options.repeat}")
    rows = core_rows(options.repeat)
    print(*rows, sep="\n")
    if options.peers:
        peers(options.peers, log, options.repeat)
    return sys.exit(not all(row.met for row in rows))


if __name__ == "__main__":
    main()
