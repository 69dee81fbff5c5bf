"""What a teacher says about a data set, computed once and read by every student.

A cache is a folder: ``manifest.json`` and shards ``shard-00000.safetensors``. The manifest says
whose it is (teacher, tokenizer, sequences) and has a SHA-256 of each shard. Rows are the supervised
positions of the sequences, one after another: position ``i`` predicts token ``i + 1``, and the
tokens to predict are those of reasoning and answer. The formats ``cot`` and ``blended`` have the
same sequences, so one cache serves both.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from filelock import FileLock
from safetensors.torch import load_file, save
from torch import Tensor

from .files import write_whole
from .likelihood import evaluating
from .losses import TeacherHidden, TeacherTopK, top_k_logits
from .models import ModelError, check_logits
from .task import Encoded

__all__ = [
    "Cache",
    "CacheError",
    "build_cache",
    "fingerprint",
    "model_fingerprint",
    "open_cache",
    "tokenizer_fingerprint",
]

_VERSION = 1
_MANIFEST = "manifest.json"
_UNFINISHED = "unfinished.json"
_SAMPLES = 64
_ANEW = "Delete the folder and build the cache again."
# Settings that differ between a model in memory and the same model saved and loaded again.
_NOT_THE_MODEL = {"_name_or_path", "architectures", "dtype", "transformers_version", "use_cache"}


class CacheError(ValueError):
    """A cache is damaged, unfinished, or of another teacher, tokenizer or data set."""


def model_fingerprint(model: Any) -> str:
    """SHA-256 of the config, and of the name, shape, dtype and 64 values of every weight."""
    digest = hashlib.sha256()
    config = {k: v for k, v in model.config.to_dict().items() if k not in _NOT_THE_MODEL}
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    for name, weight in model.named_parameters():
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        values = weight.detach().flatten()
        at = torch.linspace(0, len(values) - 1, min(_SAMPLES, len(values)), dtype=torch.float64)
        sample = values[at.long().to(values.device)].cpu().double()
        digest.update(sample.numpy().tobytes())
    return digest.hexdigest()


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """SHA-256 of the vocabulary with its token ids."""
    vocabulary = sorted(tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps(vocabulary).encode()).hexdigest()


def fingerprint(model: Any, tokenizer: Any) -> str:
    """Name a model and its tokenizer by 16 hexadecimal digits each."""
    return f"{model_fingerprint(model)[:16]}-{tokenizer_fingerprint(tokenizer)[:16]}"


@dataclass(frozen=True, eq=False)
class Cache:
    """A teacher's words on some sequences; made by `build_cache` or `open_cache`.

    Parameters
    ----------
    path : Path
    manifest : mapping
        Contents of ``manifest.json``.
    counts : array of int
        Supervised positions of each sequence.
    """

    path: Path
    manifest: Mapping[str, Any]
    counts: np.ndarray
    _shards: dict[int, dict[str, Tensor]] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.counts)

    @property
    def kind(self) -> Literal["hidden", "topk"]:
        """Whether rows are last hidden states or top-k logits."""
        return self.manifest["kind"]

    def rows(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Return the rows of some sequences, one sequence after another.

        Parameters
        ----------
        indices : sequence of int
            Positions among the sequences that the cache was built on, in any order.

        Returns
        -------
        dict of str to Tensor
            ``hidden [rows, hidden]``, or ``logits [rows, k]``, ``indices [rows, k]`` and
            ``tail [rows]``; on the CPU.
        """
        parts = [self._sequence(int(i)) for i in indices]
        if not parts:
            raise ValueError("Cache.rows: no indices; ask for one sequence or more.")
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def teacher(
        self, indices: Sequence[int], head: Tensor | None = None
    ) -> TeacherHidden | TeacherTopK:
        """Return the teacher that the losses take, for the supervised positions in order.

        Parameters
        ----------
        indices : sequence of int
            As in `rows`: the sequences of a batch, in its order.
        head : Tensor [vocab, hidden], optional
            The teacher's output head, for hidden states; its device is that of the computation.
        """
        rows = self.rows(indices)
        if self.kind == "topk":
            vocab, temperature = self.manifest["vocab"], self.manifest["temperature"]
            return TeacherTopK(rows["logits"], rows["indices"], rows["tail"], vocab, temperature)
        if head is None:
            raise ValueError(
                f"{self.path}: a cache of hidden states needs the teacher's output head; pass "
                "head=teacher.get_output_embeddings().weight."
            )
        expected = (self.manifest["vocab"], self.manifest["hidden"])
        if tuple(head.shape) != expected:
            raise CacheError(
                f"{self.path}: head has shape {tuple(head.shape)}, the teacher's has {expected}."
            )
        return TeacherHidden(rows["hidden"].to(head.device), head)

    def _sequence(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path}: sequence {index} is not in [0, {len(self)}).")
        number, place = divmod(index, self.manifest["shard_size"])
        if number not in self._shards:
            # Mapped, not read: only the rows asked for come into memory.
            self._shards[number] = load_file(self.path / _shard_name(number))
        first = number * self.manifest["shard_size"]
        start = int(self.counts[first : first + place].sum())
        rows = slice(start, start + int(self.counts[index]))
        return {name: values[rows] for name, values in self._shards[number].items()}


def build_cache(
    model: Any,
    sequences: Sequence[Encoded],
    path: str | os.PathLike[str],
    *,
    tokenizer: Any,
    kind: Literal["hidden", "topk"] = "hidden",
    k: int = 64,
    temperature: float = 1.0,
    batch_size: int = 32,
    shard_size: int = 512,
    progress: Callable[[int, int], None] | None = None,
) -> Cache:
    """Run the teacher over the sequences and keep what it says at the supervised positions.

    A finished cache of the same teacher, tokenizer, sequences and options is opened, an
    interrupted one is continued after its last whole shard. Two processes may ask for the same
    cache: the second waits for the first.

    Parameters
    ----------
    model : PreTrainedModel
        The teacher; logits must be ``hidden @ head.T``, which is checked.
    sequences : sequence of Encoded
        From `Task.encode`, in the order in which they will be asked for.
    path : path
        Folder of the cache.
    tokenizer : tokenizer
        The one that made the sequences.
    kind : {"hidden", "topk"}
        ``hidden``: last hidden states in the model's dtype; the losses are exact. ``topk``: the
        `k` largest logits and the mass of the rest; smaller, and its divergence is a lower bound.
    k : int
        Logits kept, for ``topk``.
    temperature : float
        The one of the loss, for ``topk``: the mass of the rest is taken at it.
    batch_size : int
        Sequences in a forward pass; those of a shard are sorted by length first.
    shard_size : int
        Sequences in a shard.
    progress : callable, optional
        Called with the number of sequences done and of all.

    Raises
    ------
    CacheError
        If `path` holds the cache of something else, or the logits are not ``hidden @ head.T``.
    """
    path, head = Path(path), model.get_output_embeddings()
    if not sequences:
        raise ValueError("build_cache: no sequences.")
    if kind not in ("hidden", "topk"):
        raise ValueError(f"build_cache: kind = {kind!r} is not 'hidden' or 'topk'.")
    identity = {
        "version": _VERSION,
        "kind": kind,
        "teacher": model_fingerprint(model),
        **_identity_of_data(tokenizer, sequences),
        "dtype": str(model.dtype).removeprefix("torch."),
        "hidden": head.weight.shape[1],
        "vocab": head.weight.shape[0],
        "k": k if kind == "topk" else None,
        "temperature": temperature if kind == "topk" else None,
        "shard_size": shard_size,
    }
    path.mkdir(parents=True, exist_ok=True)
    with FileLock(path / ".lock"):
        if not (path / _MANIFEST).exists():
            try:
                check_logits(model, sequences[0].ids)
            except ModelError as error:
                raise CacheError(f"{path}: {error}") from error
            _build(model, sequences, path, identity, batch_size, progress)
        cache = open_cache(path, teacher=model, tokenizer=tokenizer, sequences=sequences)
        _refuse_other(path, cache.manifest, identity)
    return cache


def open_cache(
    path: str | os.PathLike[str],
    *,
    teacher: Any,
    tokenizer: Any,
    sequences: Sequence[Encoded],
) -> Cache:
    """Open a cache after checking that it is whole and belongs to what is passed.

    Parameters
    ----------
    path : path
        Folder of the cache.
    teacher : PreTrainedModel or str
        The teacher, or its `model_fingerprint` where the model itself need not be loaded.
    tokenizer : tokenizer
    sequences : sequence of Encoded
        The same in the same order as when it was built.

    Raises
    ------
    CacheError
        If it is another's, unfinished, or a shard is missing, truncated or altered.
    """
    path = Path(path)
    manifest = _read_manifest(path)
    name = teacher if isinstance(teacher, str) else model_fingerprint(teacher)
    identity = {"teacher": name, **_identity_of_data(tokenizer, sequences)}
    _refuse_other(path, manifest, identity)
    for shard in manifest["shards"]:
        _check_shard(path / shard["file"], shard)
    return Cache(path, manifest, _counts(sequences))


def _read_manifest(path: Path) -> dict[str, Any]:
    if not (path / _MANIFEST).exists():
        if not (path / _UNFINISHED).exists():
            raise CacheError(f"{path} holds no cache; make it with build_cache.")
        raise CacheError(
            f"{path} holds an unfinished cache; call build_cache with the same arguments to "
            "continue it."
        )
    try:
        manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
    except ValueError as error:
        raise CacheError(f"{path / _MANIFEST} is not JSON: {error}. {_ANEW}") from error
    if not isinstance(manifest, dict) or manifest.get("version") != _VERSION:
        found = manifest.get("version") if isinstance(manifest, dict) else None
        raise CacheError(
            f"{path / _MANIFEST} has version {found!r}, this release reads {_VERSION}. {_ANEW}"
        )
    return manifest


_WHAT = {
    "teacher": "another teacher: its weights or config differ",
    "tokenizer": "another tokenizer: its vocabulary differs",
    "data": "other sequences, or the same in another order",
}


def _refuse_other(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        if found.get(name) != value:
            what = _WHAT.get(name, f"{name} = {found.get(name)!r} instead of {value!r}")
            raise CacheError(f"{path} holds a cache of {what}. Use another folder for this one.")


def _check_shard(file: Path, shard: Mapping[str, Any]) -> None:
    if not file.exists():
        raise CacheError(f"{file} is missing. {_ANEW}")
    if file.stat().st_size != shard["bytes"]:
        raise CacheError(
            f"{file} has {file.stat().st_size} bytes instead of {shard['bytes']}; it is truncated "
            f"or altered. {_ANEW}"
        )
    with file.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != shard["sha256"]:
            raise CacheError(
                f"{file} does not have the checksum of its manifest; it is altered. {_ANEW}"
            )


def _identity_of_data(tokenizer: Any, sequences: Sequence[Encoded]) -> dict[str, Any]:
    digest, reasoning = hashlib.sha256(), False
    for sequence in sequences:
        spans = (sequence.prompt.stop, sequence.reasoning.stop, sequence.answer.stop)
        digest.update(np.array([len(sequence.ids), *spans, *sequence.ids], np.int64).tobytes())
        reasoning |= sequence.reasoning.stop > sequence.reasoning.start
    return {
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "data": digest.hexdigest(),
        "format": "cot" if reasoning else "label",
        "sequences": len(sequences),
        "positions": int(_counts(sequences).sum()),
    }


def _counts(sequences: Sequence[Encoded]) -> np.ndarray:
    """Count the tokens after the prompt: each is predicted by the position before it."""
    for i, sequence in enumerate(sequences):
        if not 0 < sequence.prompt.stop < len(sequence.ids):
            raise ValueError(
                f"Sequence {i} has a prompt of {sequence.prompt.stop} of {len(sequence.ids)} "
                "tokens; it needs a prompt and something to learn after it."
            )
    return np.array([len(sequence.ids) - sequence.prompt.stop for sequence in sequences])


def _build(
    model: Any,
    sequences: Sequence[Encoded],
    path: Path,
    identity: Mapping[str, Any],
    batch_size: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    size, shards = identity["shard_size"], []
    for left in path.glob("*.tmp"):  # of an attempt that was killed while it wrote
        left.unlink()
    if (path / _UNFINISHED).exists():
        unfinished = json.loads((path / _UNFINISHED).read_text(encoding="utf-8"))
        _refuse_other(path, unfinished, identity)
        shards = unfinished["shards"]
        for shard in shards:
            _check_shard(path / shard["file"], shard)
    for number in range(len(shards), -(-len(sequences) // size)):
        part = sequences[number * size : (number + 1) * size]
        data = save(_shard(model, part, identity, batch_size))
        file = path / _shard_name(number)
        write_whole(file, data)
        checksum = hashlib.sha256(data).hexdigest()
        shards.append({"file": file.name, "bytes": len(data), "sha256": checksum})
        text = json.dumps({**identity, "shards": shards}, indent=1)
        write_whole(path / _UNFINISHED, text.encode())
        if progress is not None:
            progress(min((number + 1) * size, len(sequences)), len(sequences))
    os.replace(path / _UNFINISHED, path / _MANIFEST)


def _shard(
    model: Any, part: Sequence[Encoded], identity: Mapping[str, Any], batch_size: int
) -> dict[str, Tensor]:
    head = model.get_output_embeddings()
    rows: list[dict[str, Tensor]] = [{}] * len(part)
    by_length = sorted(range(len(part)), key=lambda i: len(part[i].ids))
    with evaluating(model):
        for start in range(0, len(part), batch_size):
            batch = by_length[start : start + batch_size]
            for i, hidden in zip(batch, _hidden(model, [part[i] for i in batch]), strict=True):
                if identity["kind"] == "hidden":
                    rows[i] = {"hidden": hidden.to("cpu", copy=True)}
                    continue
                top = top_k_logits(head(hidden), identity["k"], identity["temperature"])
                rows[i] = {
                    "logits": top.logits.cpu(),
                    "indices": top.indices.int().cpu(),
                    "tail": top.tail.cpu(),
                }
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def _hidden(model: Any, batch: Sequence[Encoded]) -> list[Tensor]:
    """Return the last hidden states at the supervised positions of each sequence."""
    # Padding is on the right, where no token of a causal model sees it.
    ids = torch.zeros(len(batch), max(len(s.ids) for s in batch), dtype=torch.long)
    for row, sequence in enumerate(batch):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
    states = model.get_decoder()(input_ids=ids.to(model.device), use_cache=False).last_hidden_state
    return [
        states[row, sequence.prompt.stop - 1 : len(sequence.ids) - 1]
        for row, sequence in enumerate(batch)
    ]


def _shard_name(number: int) -> str:
    return f"shard-{number:05d}.safetensors"
