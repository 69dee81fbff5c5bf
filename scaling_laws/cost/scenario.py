"""A server and its work: latency, throughput, price and memory of any model under it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.readers.table import Note

from .configs import shape as shape_of
from .constants import Calibration, for_hardware
from .render import quantity
from .shapes import Columns, Shapes, columns, counts
from .steps import Times, kv_bytes, times
from .tables import Hardware, Price
from .tables import hardware as hardware_of

__all__ = ["Serving"]

Floats = NDArray[np.float64]

_COLUMNS = ("tokens_in", "tokens_out", "batch", "load", "weight_bits", "group")
_ENDS = ("", "_low", "_high")


@dataclass(frozen=True)
class Serving:
    """What a server is, and what is asked of it.

    With B requests in the server at all times, n tokens an answer and every request prefilled once,

    ``latency(B) = B prefill + n step(B)``, ``throughput(B) = B / latency(B)``,

    whether prefills come all at once or between the steps of other requests. A `load` is served by
    the one B whose throughput it is; utilisation is the load over the throughput of the largest
    batch that fits. Bursts of arrivals are not in it: the latency is that of a steady load.

    Parameters
    ----------
    hardware : str or Hardware
        One device.
    tokens_in, tokens_out : float
        Tokens of a prompt and of an answer. Each answer token counts as a step, the first too,
        which covers the read of the weights that the formula of prefill leaves out.
    batch : float
        Requests in a replica at all times; used where no load is given.
    load : float, optional
        Requests a second offered in all.
    replicas : int
        Copies of the model that share the load.
    gpus : int
        Devices of a replica (tensor parallel).
    weight_bits : int, optional
        Bits of a weight in the layers' matrices; those of the shape, if left out.
    kv_bits : int
        Bits of a cached key or value.
    max_batch : int, optional
        Requests that the server takes at once; what fits the memory, if less or left out.
    memory_share : float
        Part of a device's memory that weights and cache may take; .9 is vLLM's old default.
    calibration : Calibration, optional
        The shipped one for the hardware, if there is one.
    price : Price, number or pair, optional
        Dollars an hour of a device; the table's range, if left out.

    Raises
    ------
    KeyError
        For hardware without numbers or without a calibration.
    ValueError
        For a setting out of range.
    """

    hardware: str | Hardware = "H100"
    tokens_in: float = field(default=0.0, kw_only=True)
    tokens_out: float = field(default=0.0, kw_only=True)
    batch: float = field(default=1.0, kw_only=True)
    load: float | None = field(default=None, kw_only=True)
    replicas: int = field(default=1, kw_only=True)
    gpus: int = field(default=1, kw_only=True)
    weight_bits: int | None = field(default=None, kw_only=True)
    kv_bits: int = field(default=16, kw_only=True)
    max_batch: int | None = field(default=None, kw_only=True)
    memory_share: float = field(default=0.9, kw_only=True)
    calibration: Calibration | None = field(default=None, kw_only=True)
    price: Price | float | tuple[float, float] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Look names up, and refuse what can't be asked."""
        device = hardware_of(self.hardware).priced(self.price)
        object.__setattr__(self, "hardware", device)
        if self.calibration is None:
            object.__setattr__(self, "calibration", for_hardware(device.name))
        least = {"batch": 1, "replicas": 1, "gpus": 1, "kv_bits": 1}
        least |= {"max_batch": 1, "weight_bits": 1, "load": 1e-12, "tokens_in": 1, "tokens_out": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and not low <= value < float("inf"):
                wanted = "positive" if low < 1 else f"{low} or more"
                whose = {"tokens_in": "prompt", "tokens_out": "answer"}.get(name)
                instead = (
                    f"; write {name}=, the tokens of the {whose} of a request" if whose else ""
                )
                raise ValueError(f"Serving: {name} = {value:g} is not {wanted}{instead}.")
        if not 0 < self.memory_share <= 1:
            raise ValueError(f"Serving: memory_share = {self.memory_share} is not in (0, 1].")

    @property
    def device(self) -> Hardware:
        """The hardware, looked up and priced."""
        return cast(Hardware, self.hardware)

    @property
    def constants(self) -> Calibration:
        """The calibration in use."""
        return cast(Calibration, self.calibration)

    @property
    def notes(self) -> tuple[Note, ...]:
        """What the answers rest on."""
        found = list(self.constants.notes)
        measured = self.constants.hardware
        if measured != self.device.name:
            sentence = (
                f"The constants were measured on {measured}, not on {self.device.name}: no error "
                "is known for the move."
            )
            found.append(Note("other_hardware", "warning", sentence))
        if self.constants.unidentified:
            names = ", ".join(self.constants.unidentified)
            sentence = (
                f"The calibration does not fix {names}: only shapes and batches like those "
                "measured are predicted."
            )
            found.append(Note("unidentified_constants", "error", sentence))
        return (*found, *self.device.price_notes)

    def latency(self, shapes: Shapes) -> pd.DataFrame:
        """Return ``latency_ms`` of a request, with ``_low`` and ``_high`` over the prefill range.

        Rows as in `evaluate`; NaN where the load or the memory does not allow it.
        """
        return self.evaluate(shapes)[["latency_ms", "latency_ms_low", "latency_ms_high"]]

    def price_per_million(self, shapes: Shapes) -> pd.DataFrame:
        """Return ``price_low, price_high``: dollars for a million requests, idle time included."""
        return self.evaluate(shapes)[["price_low", "price_high"]]

    def memory(self, shapes: Shapes) -> pd.DataFrame:
        """Return bytes on one device: ``weights``, ``cache`` at the batch, ``available``, ``fits``.

        Weights and cache are divided over the devices of a replica; activations and the runtime's
        own memory come out of what `memory_share` leaves.
        """
        frame = self.evaluate(shapes)
        names = {
            "weights_bytes": "weights", "cache_bytes": "cache", "available_bytes": "available",
            "fits": "fits",
        }  # fmt: skip
        return frame[list(names)].rename(columns=names)

    def evaluate(self, shapes: Shapes) -> pd.DataFrame:
        """Return everything about many models at once.

        Parameters
        ----------
        shapes : Shape, name, list of Shape, or DataFrame
            A frame has a column a field of `Shape` (`Shape.variants` and `planned` make one), and
            may have ``tokens_in``, ``tokens_out``, ``batch``, ``load``, ``weight_bits`` and
            ``group``, which then stand for this object's.

        Returns
        -------
        DataFrame
            A row a model, with the frame's index: ``params``, ``batch`` (requests in a replica),
            ``max_batch``, ``prefill_ms``, ``step_ms``, ``latency_ms``, ``requests_per_s`` (of all
            replicas), ``utilisation``, each also ``_low`` and ``_high`` where the prefill range
            moves it; ``price_low, price_high`` for a million requests; ``weights_bytes``,
            ``cache_bytes``, ``available_bytes`` of one device; ``fits``, ``served`` and ``why``
            (not). Times and prices are NaN where not served.
        """
        sizes, asked, index = self._asked(shapes)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            frame = _Evaluation(self, sizes, asked).frame()
        frame.index = index
        return frame

    def _asked(self, shapes: Shapes) -> tuple[Columns, Mapping[str, Floats], pd.Index[Any]]:
        own: dict[str, Floats] = {}
        if isinstance(shapes, str):
            shapes = shape_of(shapes)
        sizes = columns(shapes)
        n = len(sizes["layers"])
        index: pd.Index[Any] = pd.RangeIndex(n)
        if isinstance(shapes, pd.DataFrame):
            index = shapes.index
            own = {c: shapes[c].to_numpy(dtype=np.float64) for c in _COLUMNS if c in shapes}
        for name in ("tokens_in", "tokens_out", "batch", "load"):
            given = getattr(self, name)
            own.setdefault(name, np.full(n, np.nan if given is None else float(given)))
        if self.weight_bits is not None and not (
            isinstance(shapes, pd.DataFrame) and "weight_bits" in shapes
        ):
            sizes = sizes | {"weight_bits": np.full(n, self.weight_bits, np.int64)}
        for name in ("tokens_in", "tokens_out", "batch"):
            if not bool((own[name] >= 1).all()):
                worst = own[name][~(own[name] >= 1)][0]
                raise ValueError(f"serving: {name} = {worst:g} is not 1 or more.")
        return sizes, own, index


class _Evaluation:
    """The arithmetic of `Serving.evaluate`, arrays ``[models]``."""

    def __init__(self, serving: Serving, sizes: Columns, asked: Mapping[str, Floats]) -> None:
        self.serving, self.sizes, self.asked = serving, sizes, asked
        device, gpus = serving.device, serving.gpus
        self.out = asked["tokens_out"]
        # Half of the answer has been written on average.
        context = asked["tokens_in"] + self.out / 2
        self.times: Times = times(sizes, device, asked["tokens_in"], context, serving.kv_bits, gpus)
        self.count = counts(sizes)
        share = np.minimum(gpus, sizes["kv_heads"])
        whole = asked["tokens_in"] + self.out
        self.request_bytes = whole * kv_bytes(sizes, serving.kv_bits) / share
        self.weights = self.count.weight_bytes / gpus
        self.available = device.memory * serving.memory_share
        room = np.floor(np.maximum(self.available - self.weights, 0.0) / self.request_bytes)
        most = np.inf if serving.max_batch is None else float(serving.max_batch)
        self.max_batch = np.minimum(room, most)

    def frame(self) -> pd.DataFrame:
        known = self.serving.constants
        t = self.times
        each = t.context / known.mbu + t.multiply / known.mfu + known.ts
        fixed = t.read / known.mbu + known.t0 * t.layers
        loaded = ~np.isnan(self.asked["load"])
        data: dict[str, Any] = {"params": self.count.params}
        utilisations = (known.middle_prefill, known.prefill[1], known.prefill[0])
        served = np.ones(len(fixed), bool)
        for end, utilisation in zip(_ENDS, utilisations, strict=True):
            prefill = t.prompt / utilisation + known.t0 * t.layers
            batch, capacity = self._batch(prefill, fixed, each, loaded)
            step = fixed + batch * each
            latency = batch * prefill + self.out * step
            rate = np.where(loaded, self.asked["load"], self.serving.replicas * batch / latency)
            data[f"batch{end}"], data[f"step_ms{end}"] = batch, 1e3 * step
            data[f"prefill_ms{end}"], data[f"latency_ms{end}"] = 1e3 * prefill, 1e3 * latency
            data[f"requests_per_s{end}"] = rate
            data[f"capacity{end}"] = capacity
            data[f"utilisation{end}"] = rate / capacity
            served &= (batch <= self.max_batch) & (batch >= 1)
        return self._finished(data, served, loaded)

    def _batch(
        self, prefill: Floats, fixed: Floats, each: Floats, loaded: NDArray[np.bool_]
    ) -> tuple[Floats, Floats]:
        """Return requests in a replica, and the requests a second that all replicas can do.

        ``throughput(B) = B / (n fixed + B (prefill + n each)) = load / replicas``, solved for B.
        """
        slope = prefill + self.out * each
        capacity = self.serving.replicas / (self.out * fixed / self.max_batch + slope)
        load = self.asked["load"] / self.serving.replicas
        busy = 1.0 - load * slope
        needed = np.where(busy > 0, load * self.out * fixed / busy, np.inf)
        return np.where(loaded, np.maximum(needed, 1.0), self.asked["batch"]), capacity

    def _finished(
        self, data: dict[str, Any], served: NDArray[np.bool_], loaded: NDArray[np.bool_]
    ) -> pd.DataFrame:
        serving = self.serving
        # The ends go by what they do to a request: the low one is the fast one.
        rate_low, rate_high = data["requests_per_s_high"], data["requests_per_s_low"]
        data["requests_per_s_low"], data["requests_per_s_high"] = rate_low, rate_high
        price = serving.device.price
        hours = serving.replicas * serving.gpus / 3600 * 1e6
        data["price_low"] = np.nan if price is None else hours * price.low / rate_high
        data["price_high"] = np.nan if price is None else hours * price.high / rate_low
        data["weights_bytes"] = self.weights
        data["cache_bytes"] = data["batch_high"] * self.request_bytes
        data["available_bytes"] = np.full(len(served), self.available)
        data["max_batch"] = self.max_batch
        data["fits"] = self.max_batch >= 1
        data["served"] = served
        capacity = data.pop("capacity_high")
        data.pop("capacity_low")
        data["capacity"] = capacity
        frame = pd.DataFrame(data)
        unserved = [c for c in frame if str(c).startswith(_TIMED)]
        frame.loc[~served, unserved] = np.nan
        reasons = [""] * len(served)
        for row in np.flatnonzero(~served).tolist():
            reasons[row] = self._reason(row, bool(loaded[row]), float(capacity[row]))
        frame["why"] = reasons
        return frame

    def _reason(self, row: int, loaded: bool, capacity: float) -> str:
        weights, most = float(self.weights[row]), float(self.max_batch[row])
        if most < 1:
            return (
                f"weights of {quantity(weights, 'B')} and one request's cache of "
                f"{quantity(float(self.request_bytes[row]), 'B')} do not fit the "
                f"{quantity(self.available, 'B')} of a device; use more gpus or fewer bits"
            )
        if not loaded:
            return f"a batch of {self.asked['batch'][row]:g} is above the {most:g} that fit"
        load = float(self.asked["load"][row])
        replicas = int(np.ceil(load / capacity * self.serving.replicas * (1 + 1e-9)))
        return (
            f"a load of {load:g} requests a second is above the {capacity:.3g} that "
            f"{self.serving.replicas} replica(s) of batch {most:g} can do; "
            f"{replicas} replicas could"
        )


_TIMED = (
    "batch", "step_ms", "prefill_ms", "latency_ms", "requests_per_s", "utilisation", "price",
    "cache_bytes",
)  # fmt: skip
