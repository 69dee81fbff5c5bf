"""The steps of a chain, each a stage: what decides it, and how it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .cache import build_cache, open_cache
from .config import Config, Replay, Train, essential, hash_of
from .data import Dataset
from .evaluate import LEARNT, evaluate, reply_tokens
from .files import folder_content
from .general import general_kl, lm_eval_scores
from .generate import generate
from .memory import OutOfMemory, explained, lower_batch
from .models import (
    ModelError,
    check_vocabularies,
    folder_identity,
    folder_samples,
    load_model,
    load_tokenizer,
    no_bars,
    read_config,
    read_head,
    save_model,
)
from .prune import Plan, magnitude_importance, measure_importance, prune_model
from .quiz import build_quiz, random_copy, take_quiz
from .replay import beginnings, prompts_identity, written_texts
from .stages import Stage, Stages
from .streams import CachedTeacher, OnlineTeacher, Stream
from .task import Encoded, Format
from .train import train

__all__ = ["Made", "Steps"]


@dataclass(frozen=True)
class Made:
    """A model on the way of a chain.

    Parameters
    ----------
    key : str
        All that determines it.
    path : Path
        Its folder.
    result : mapping
        How it was made: cost, and for a training ``steps``, ``tokens`` and so on.
    """

    key: str
    path: Path
    result: dict[str, Any]

    @classmethod
    def of(cls, stage: Stage) -> Made:
        """Return the model that a stage made."""
        return cls(stage.key, stage.model, dict(stage.result))


class Steps:
    """What a chain can do, with one configuration.

    Parameters
    ----------
    config : Config
    data : Dataset
    stages : Stages
    bar : bool
        Show the progress of trainings.
    """

    def __init__(self, config: Config, data: Dataset, stages: Stages, bar: bool = True) -> None:
        self.config, self.data, self.stages, self.bar = config, data, stages, bar
        self.accelerator = stages.accelerator
        self.device = self.accelerator.device

    def given(self, path: str) -> Made:
        """Return a model that is there already.

        Its key knows the ends of its weights; the stages keep a finer mark of the model that they
        were made from, so that another of the same ends is not taken for it.

        Raises
        ------
        ModelError
            For other weights of the same key.
        """
        key = f"given-{folder_identity(path)}"
        if not self.stages.same(key, folder_samples(path)):
            raise ModelError(
                f"{path} holds other weights than those that {self.stages.folder} was made from "
                "under the same name and with the same ends of its files. Use another out, so that "
                "nothing of the old model is taken for the new one's."
            )
        return Made(key, Path(path), {})

    def adapt(self, base: Made) -> Made:
        """Teach the teacher the task, from texts; hold it near what it was by replay, if asked."""
        adapt, pool = self.config.adapt, self.data.pool
        assert adapt is not None  # called where there is such a section
        replay = None if adapt.replay is None else self._replay(base, adapt.replay, adapt.seed)
        inputs = {"base": base.key, "adapt": essential(adapt), **self._common}

        def make(folder: Path) -> dict[str, Any]:
            model, tokenizer = self._load(base)
            examples = [pool[i] for i in self.data.chosen(adapt.examples, adapt.seed)]
            encode = self.data.task.encode
            learnt = [encode(e, tokenizer, f) for f in adapt.formats for e in examples]
            held_out = self._held_out(tokenizer, adapt.formats, adapt.train)
            streams = [Stream(learnt, adapt.train.batch, "cot")]
            if adapt.replay is not None and replay is not None:
                streams.append(self._replayed(base, replay, adapt.replay, tokenizer))
            trained = self._train(
                folder, model, tokenizer, streams, adapt.train, adapt.seed, held_out
            )
            return {"examples": len(examples), **trained}

        return Made.of(self._stage("adapt", inputs, make, together=True))

    def prune(self, parent: Made, plan: Plan) -> Made:
        """Cut a model to a plan's sizes, by importance on prompts of the task.

        On prompts alone, so that students of all formats and numbers of labels begin as one.
        """
        prune = self.config.prune
        sizes = {name: getattr(plan, name) for name in ("layers", "hidden", "ffn", "kv_heads")}
        inputs: dict[str, Any] = {"parent": parent.key, "sizes": sizes, **self._common}
        inputs["importance"] = prune.importance
        if prune.importance == "activation":
            inputs["calibration"] = prune.calibration
        if prune.weights == "random":
            inputs["random"] = self.config.seed

        def make(folder: Path) -> dict[str, Any]:
            began = time.perf_counter()
            model, tokenizer = self._load(parent)
            if prune.importance == "activation":
                importance = measure_importance(model, self._prompts(tokenizer))
            else:
                importance = magnitude_importance(model)
            with no_bars():
                student = prune_model(model, plan, importance)
            if prune.weights == "random":
                student = random_copy(student, self.config.seed)
            save_model(student, tokenizer, folder / "model", dtype=self.config.model.dtype)
            return {"wall_s": time.perf_counter() - began}

        return Made.of(self._stage("prune", inputs, make))

    def teach(self, student: Made, teacher: Made) -> Made:
        """Distil the teacher into a student."""
        config, s = self.config, self.config.supervision
        teaching = s.alpha > 0
        cached = self._cache(teacher) if teaching and s.cache != "none" else None
        replay = None if s.replay is None else self._replay(teacher, s.replay, self.config.seed)
        inputs = {
            "student": student.key,
            "teacher": teacher.key if teaching else None,
            "supervision": essential(s),
            "train": essential(config.train),
            "examples": config.data.train,
            "seed": config.seed,
            **self._common,
        }

        def make(folder: Path) -> dict[str, Any]:
            model, tokenizer = self._load(student)
            if teaching:
                self._check(teacher, model, tokenizer)
            places = self.data.chosen(config.data.train, config.seed)
            pool = self._encoded(tokenizer)
            source = None
            if cached is not None:
                source = self._cached(cached, pool, places, teacher, tokenizer)
            elif teaching:
                source = OnlineTeacher(self._load(teacher)[0])
            stream = Stream(
                [pool[i] for i in places],
                config.train.batch,
                s.w if s.format == "blended" else s.format,
                source,
                alpha=s.alpha,
                divergence=s.divergence,
                temperature=s.temperature,
                clip=s.clip,
            )
            streams = [stream]
            if s.replay is not None and replay is not None:
                streams.append(self._replayed(teacher, replay, s.replay, tokenizer))
            held_out = self._held_out(tokenizer, [s.format], config.train)
            trained = self._train(
                folder, model, tokenizer, streams, config.train, config.seed, held_out
            )
            return {"examples": len(places), **trained}

        return Made.of(self._stage("teach", inputs, make, together=True))

    def score(self, made: Made) -> dict[str, Any]:
        """Evaluate a model: ``scores``, ``sizes`` and the file of ``items``, as a row has them."""
        options, format = self.config.evaluate, self.config.supervision.format
        inputs = {"model": made.key, "format": format, "evaluate": essential(options)}
        texts: list[str] = []
        if options.texts is not None:
            lines = Path(options.texts).read_text("utf-8").splitlines()
            texts = [line for line in lines if line.strip()]
            if len(texts) < 2:
                raise ValueError(
                    f"{options.texts} holds {len(texts)} texts; a standard error needs two or "
                    "more, one a line."
                )
            inputs["texts"] = hash_of(texts)
            if self.config.model.student is not None:  # pruned ones have the teacher in their key
                inputs["base"] = self.given(self.config.model.teacher).key
        if options.lm_eval is not None and options.lm_eval.include_path is not None:
            inputs["tasks"] = folder_content(options.lm_eval.include_path)

        def make(folder: Path) -> dict[str, Any]:
            began = time.perf_counter()
            model, tokenizer = self._load(made)
            if options.texts is not None:
                self._comparable(model, tokenizer)
            test, replies = self.data.test, options.replies
            task, pool = self.data.task, self.data.pool[:LEARNT]
            if format != "label":
                test, replies = test[:replies], None
            evaluation = evaluate(
                model,
                tokenizer,
                task,
                test,
                format,
                replies=replies,
                gold_counts="fixed" if len(test) == len(self.data.test) else "random",
                max_new_tokens=options.tokens or reply_tokens(task, pool, tokenizer, format),
                batch_size=options.batch,
            )
            file, sha256 = evaluation.save(folder)
            scores = dict(evaluation.scores)
            if options.quiz != 0:
                questions = build_quiz(options.quiz)
                quiz = take_quiz(model, tokenizer, questions, batch_size=options.batch)
                quiz.save(folder)
                scores |= quiz.scores
            if options.texts is not None:
                base, _ = self._load(self.given(self.config.model.teacher))
                scores |= general_kl(model, base, tokenizer, texts)
            if options.lm_eval is not None:
                asked = options.lm_eval.model_dump()
                scores |= lm_eval_scores(model, tokenizer, batch_size=options.batch, **asked)
            wall = time.perf_counter() - began
            return {
                "scores": scores, "sizes": _sizes(model), "wall_s": wall,
                "items": file.name, "items_sha256": sha256,
            }  # fmt: skip

        done = self._stage("score", {**inputs, **self._common}, make)
        found = dict(done.result)
        if "items" in found:  # an older version kept no name
            file = done.path / found["items"]
            found["items"] = file.relative_to(self.stages.folder.parent).as_posix()
        return found

    def quiz(self, made: Made) -> dict[str, Any]:
        """Take the quiz alone."""
        options = self.config.evaluate
        inputs = {"model": made.key, "quiz": options.quiz, "dtype": self.config.model.dtype}

        def make(folder: Path) -> dict[str, Any]:
            model, tokenizer = self._load(made)
            questions = build_quiz(options.quiz)
            result = take_quiz(model, tokenizer, questions, batch_size=options.batch)
            result.save(folder)
            return dict(result.scores)

        return dict(self._stage("quiz", inputs, make).result)

    def _stage(
        self,
        kind: str,
        inputs: Mapping[str, Any],
        make: Callable[[Path], Mapping[str, Any]],
        *,
        together: bool = False,
    ) -> Stage:
        """Do a step once; where memory ends in it, say which settings to lower."""

        def ended() -> OutOfMemory:
            if not together:
                return lower_batch(f"doing the step {kind!r}", self.config.evaluate.batch)
            return OutOfMemory(
                f"out of memory before or after the training of the step {kind!r}. Set train.lora, "
                "or train.parallel=fsdp under torchrun; with supervision.cache=hidden the teacher "
                "is not in memory beside the student."
            )

        def made(folder: Path) -> Mapping[str, Any]:
            with explained(ended):
                return make(folder)

        return self.stages.run(kind, inputs, made, together=together)

    @property
    def _common(self) -> dict[str, Any]:
        """What decides every step; the number of labels does not decide what comes before."""
        data = essential(self.config.data)
        del data["train"]
        content = {"data": data, "content": self.data.identity}
        return {**content, "dtype": self.config.model.dtype}

    def _load(self, made: Made) -> tuple[Any, Any]:
        model = load_model(made.path, self.config.model.dtype, self.device)
        return model, load_tokenizer(made.path, model)

    def _encoded(self, tokenizer: Any) -> list[Encoded]:
        format = self.config.supervision.format
        return [self.data.task.encode(e, tokenizer, format) for e in self.data.pool]

    def _held_out(self, tokenizer: Any, formats: Sequence[Format], options: Train) -> list[Encoded]:
        """Encode the validation examples if they are measured: a file's may lack reasons."""
        if options.validate_every is None:
            return []
        examples, task = self.data.validation, self.data.task
        if any(f != "label" for f in formats) and not all(e.rationale for e in examples):
            raise ValueError(
                "train.validate_every measures reasoning too, and the validation examples of "
                f"{self.config.data.source} have none (data.traces are of the pool). Add a column "
                "rationale to the file, or write validate_every: null and patience: null."
            )
        return [task.encode(e, tokenizer, f) for f in formats for e in examples]

    def _check(self, teacher: Made, student: Any, tokenizer: Any) -> None:
        check_vocabularies(
            read_config(teacher.path), student.config, load_tokenizer(teacher.path), tokenizer
        )

    def _comparable(self, model: Any, tokenizer: Any) -> None:
        """Refuse to measure a divergence between tokens that are not the same."""
        try:
            self._check(self.given(self.config.model.teacher), model, tokenizer)
        except ModelError as error:
            raise ModelError(
                f"evaluate.texts measures the divergence from model.teacher, but {error} Or write "
                "evaluate.texts: null."
            ) from error

    def _prompts(self, tokenizer: Any) -> Iterator[dict[str, Tensor]]:
        """Pad prompts of the calibration set."""
        chosen = self.data.chosen(self.config.prune.calibration, self.config.data.seed)
        size = self.config.evaluate.batch
        texts = [self.data.pool[i].text for i in chosen]
        rows = [torch.tensor(self.data.task.prompt_ids(t, tokenizer, "label")) for t in texts]
        rows.sort(key=len)
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            ids = pad_sequence(part, batch_first=True)
            mask = pad_sequence([torch.ones_like(row) for row in part], batch_first=True)
            yield {"input_ids": ids, "attention_mask": mask}

    def _cache(self, teacher: Made) -> Stage:
        """Keep what the teacher says about the pool, once for all students."""
        s = self.config.supervision
        inputs: dict[str, Any] = {"teacher": teacher.key, "kind": s.cache, **self._common}
        inputs["format"] = "label" if s.format == "label" else "cot"
        options: dict[str, Any] = {"kind": s.cache}
        if s.cache == "topk":
            options |= {"k": s.k, "temperature": s.temperature}

        def make(folder: Path) -> dict[str, Any]:
            began = time.perf_counter()
            model, tokenizer = self._load(teacher)
            cache = build_cache(
                model,
                self._encoded(tokenizer),
                folder / "cache",
                tokenizer=tokenizer,
                batch_size=self.config.evaluate.batch,
                **options,
            )
            wall = time.perf_counter() - began
            return {"teacher": cache.manifest["teacher"], "wall_s": wall}

        return self._stage("cache", inputs | options, make)

    def _cached(
        self,
        stage: Stage,
        sequences: Sequence[Encoded],
        places: Sequence[int],
        teacher: Made,
        tokenizer: Any,
    ) -> CachedTeacher:
        cache = open_cache(
            stage.path / "cache",
            teacher=stage.result["teacher"],
            tokenizer=tokenizer,
            sequences=sequences,
        )
        if cache.kind == "topk":
            return CachedTeacher(cache, places)
        head = read_head(teacher.path, self.config.model.dtype)
        return CachedTeacher(cache, places, head.to(self.device))

    def _replay(self, base: Made, replay: Replay, seed: int) -> Stage:
        """Let a model write texts, and keep what it says about them."""
        inputs = {"base": base.key, "texts": replay.texts, "tokens": replay.tokens, "seed": seed}

        def make(folder: Path) -> dict[str, Any]:
            model, tokenizer = self._load(base)
            rng = np.random.default_rng(seed)
            first = beginnings(tokenizer, replay, rng)
            replies = generate(
                model,
                tokenizer,
                first,
                max_new_tokens=replay.tokens - 1,
                temperature=1.0,
                batch_size=self.config.evaluate.batch,
                rng=rng,
            )
            texts = [[*given, *reply.ids] for given, reply in zip(first, replies, strict=True)]
            made = {"texts": texts, "given": [len(given) for given in first]}
            cache = build_cache(
                model,
                written_texts(made),
                folder / "cache",
                tokenizer=tokenizer,
                batch_size=self.config.evaluate.batch,
            )
            return {"teacher": cache.manifest["teacher"], **made}

        inputs |= prompts_identity(replay)
        return self._stage("replay", inputs | {"dtype": self.config.model.dtype}, make)

    def _replayed(self, base: Made, stage: Stage, replay: Replay, tokenizer: Any) -> Stream:
        """Make the stream of a model's own texts: its divergence from what it was."""
        texts = written_texts(stage.result)
        teacher = self._cached(stage, texts, range(len(texts)), base, tokenizer)
        return Stream(texts, replay.batch, teacher=teacher, alpha=1.0, weight=replay.weight)

    def _train(
        self,
        folder: Path,
        model: Any,
        tokenizer: Any,
        streams: Sequence[Stream],
        options: Train,
        seed: int,
        validation: Sequence[Encoded],
    ) -> dict[str, Any]:
        trained = train(
            model,
            streams,
            options,
            seed=seed,
            validation=validation,
            folder=folder / "checkpoints",
            accelerator=self.accelerator,
            bar=self.bar,
        )
        if self.accelerator.is_main_process:
            save_model(
                model,
                tokenizer,
                folder / "model",
                dtype=self.config.model.dtype,
                weights=trained.weights,
            )
        names = ("steps", "examples_seen", "tokens", "stopped_by", "wall_s", "cpu_s", "validation")
        return {name: getattr(trained, name) for name in names} | {"losses": trained.losses}


def _sizes(model: Any) -> dict[str, Any]:
    """Return the fields of a row that describe a model."""
    outer = {
        id(part.weight) for part in (model.get_input_embeddings(), model.get_output_embeddings())
    }
    inner = sum(weight.numel() for weight in model.parameters() if id(weight) not in outer)
    config = model.config
    return {
        "params": model.num_parameters(),
        "params_nonembedding": inner,
        # Other types of pretrained students have other names for them, or none.
        "layers": getattr(config, "num_hidden_layers", None),
        "hidden": getattr(config, "hidden_size", None),
        "ffn": getattr(config, "intermediate_size", None),
        "kv_heads": getattr(config, "num_key_value_heads", None),
    }
