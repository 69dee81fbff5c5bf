"""Reasoning and answers written by a teacher: by a model here, or read from files.

A reply is read one way, wherever it comes from. The label of an example that is kept is the one
that its trace concludes, so that a student never learns a reason for one thing and the name of
another.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from .cache import fingerprint
from .examples import Example
from .files import not_written, write_whole
from .generate import Reply, generate
from .load import read_frame
from .task import Task

__all__ = ["Traces", "collect_traces", "instruction_for", "read_traces", "write_traces"]

Wrong = Literal["keep", "drop"]
_OUTCOMES = ("kept", "wrong", "unparsed", "no reasoning", "no reply")
# A chat template may have written the opening tag: then it is not in the reply.
_THOUGHT = re.compile(r"(?:^(?!.*<think>)|<think>)(.*?)</think>", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Traces:
    """Examples with the teacher's reasoning and answers, and what became of every reply.

    Parameters
    ----------
    examples : list of Example
        Those kept: ``label`` is the teacher's answer, ``rationale`` its reasoning.
    frame : DataFrame
        A row an example asked: ``id``, ``gold`` (None where there is none), ``answer``,
        ``outcome`` and ``reply``.
    passed : int
        Rows of a file that belong to examples of other parts.
    """

    examples: list[Example]
    frame: pd.DataFrame = field(repr=False)
    passed: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Replies by outcome, and of those kept how many contradict the gold label.

        ``kept``; ``wrong``: dropped because the answer is not the gold label; ``unparsed``: no
        label could be read; ``no reasoning``: a label alone; ``no reply``: none was found;
        ``kept_wrong``.
        """
        found = Counter(self.frame["outcome"])
        kept = self.frame[self.frame["outcome"] == "kept"]
        against = kept["gold"].notna() & (kept["gold"] != kept["answer"])
        return {name: found[name] for name in _OUTCOMES} | {"kept_wrong": int(against.sum())}

    def save(self, path: str | os.PathLike[str]) -> str:
        """Write the examples to a ``.jsonl`` file for `load_examples`; return its SHA-256."""
        lines = [json.dumps(asdict(example), ensure_ascii=False) for example in self.examples]
        data = "".join(f"{line}\n" for line in lines).encode()
        write_whole(Path(path), data)
        return hashlib.sha256(data).hexdigest()


def collect_traces(
    task: Task,
    examples: Sequence[Example],
    replies: Sequence[str | None],
    *,
    wrong: Wrong = "keep",
) -> Traces:
    """Read reasoning and answer out of the teacher's replies.

    The answer is what `Task.parse` finds. The reasoning is what stands between ``<think>`` and
    ``</think>`` where there is such a part (then the answer is looked for after it), else what
    stands before the answer's line, without the lead. A line of it that begins like an answer is
    set in by a space, so that the example has one answer.

    Parameters
    ----------
    task : Task
    examples : sequence of Example
        What was asked; an empty label means that the gold label is not known.
    replies : sequence of str or None
        One for each example; None for no reply.
    wrong : {"keep", "drop"}
        What to do with answers that differ from a gold label that is known: ``keep`` teaches what
        the teacher says, right or wrong; ``drop`` keeps those that agree.

    Returns
    -------
    Traces
    """
    if wrong not in ("keep", "drop"):
        raise ValueError(f"wrong = {wrong!r} is not 'keep' or 'drop'.")
    if len(examples) != len(replies):
        raise ValueError(f"{len(examples)} examples but {len(replies)} replies; give one for each.")
    unknown = sorted({e.label for e in examples if e.label} - set(task.labels))
    if unknown:
        raise ValueError(f"Labels {unknown} are not labels of the task {task.name!r}.")
    kept, rows = [], []
    for example, reply in zip(examples, replies, strict=True):
        rationale, answer = (None, None) if reply is None else _split(task, reply)
        gold = example.label or None
        if reply is None:
            outcome = "no reply"
        elif answer is None:
            outcome = "unparsed"
        elif rationale is None:
            outcome = "no reasoning"
        elif wrong == "drop" and gold is not None and answer != gold:
            outcome = "wrong"
        else:
            outcome = "kept"
            kept.append(replace(example, label=answer, rationale=rationale))
        rows.append((example.id, gold, answer, outcome, reply))
    columns = ["id", "gold", "answer", "outcome", "reply"]
    return Traces(kept, pd.DataFrame(rows, columns=columns, dtype=object))


def _split(task: Task, reply: str) -> tuple[str | None, str | None]:
    """Return reasoning and answer of a reply; None for what is not there."""
    thought = _THOUGHT.search(reply)
    said = reply[thought.end() :] if thought else reply
    answer = task.parse(said)
    before = re.split(rf"^{re.escape(task.answer_marker)}", said, maxsplit=1, flags=re.MULTILINE)[0]
    rationale = (thought[1] if thought else before).strip()
    rationale = rationale.removeprefix(task.reason_marker).strip()
    return task.one_answer(rationale) or None, answer


def instruction_for(task: Task) -> str:
    """Tell a teacher that was not trained on the task what to do, in full: labels and form."""
    labels = "\n".join(f"- {label}" for label in task.labels)
    return (
        f"{task.instruction}\nThe answer is exactly one of these:\n{labels}\n"
        f"First write '{task.reason_marker}' and one to three sentences of reasoning. Then, on a "
        f"line of its own, write '{task.answer_marker}' and the answer as it stands in the list."
    )


def write_traces(
    model: Any,
    tokenizer: Any,
    task: Task,
    examples: Sequence[Example],
    *,
    path: str | os.PathLike[str] | None = None,
    instruction: str | None = None,
    wrong: Wrong = "keep",
    max_new_tokens: int = 512,
    temperature: float = 0.0,
    batch_size: int = 32,
    rng: int | np.random.Generator = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Traces:
    """Let a model write reasoning and an answer for every example.

    Parameters
    ----------
    model, tokenizer
        The teacher.
    task : Task
    examples : sequence of Example
        An empty label means that the gold label is not known.
    path : path, optional
        A ``.jsonl`` file that keeps every reply as it is written. If it is there already, made by
        the same teacher under the same settings, replies in it are not written again.
    instruction : str, optional
        Instead of the task's, for a teacher not trained on it: see `instruction_for`.
    wrong : {"keep", "drop"}
        See `collect_traces`.
    max_new_tokens : int
        A reply that is cut off loses its last line, and so most often its answer.
    temperature : float
        0 is greedy.
    batch_size : int
    rng : int or numpy.random.Generator
        For a temperature above 0.
    progress : callable, optional
        Called with the number of replies there are and of all.

    Raises
    ------
    ValueError
        If `path` holds replies of another teacher or under other settings.
    """
    asked = task if instruction is None else replace(task, instruction=instruction)
    prompts = [asked.prompt_ids(example.text, tokenizer, "cot") for example in examples]
    keys = [hashlib.sha256(json.dumps(prompt).encode()).hexdigest()[:32] for prompt in prompts]
    header = {
        "teacher": fingerprint(model, tokenizer),
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
    }
    found = {} if path is None else _resume(Path(path), header)
    # Equal prompts are written to once.
    missing = list({key: i for i, key in enumerate(keys) if key not in found}.values())

    def keep(places: list[int], replies: list[Reply]) -> None:
        lines = []
        for place, reply in zip(places, replies, strict=True):
            i = missing[place]
            found[keys[i]] = reply.whole(tokenizer, task.lead("cot"))
            line = {"key": keys[i], "id": examples[i].id, "reply": found[keys[i]]}
            lines.append(json.dumps({**line, "finished": reply.finished}, ensure_ascii=False))
        if path is not None:
            _append(Path(path), lines)
        if progress is not None:
            progress(len(found.keys() & set(keys)), len(set(keys)))

    generate(
        model,
        tokenizer,
        [prompts[i] for i in missing],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        batch_size=batch_size,
        rng=rng,
        done=keep,
    )
    return collect_traces(task, examples, [found[key] for key in keys], wrong=wrong)


def _resume(path: Path, header: dict[str, Any]) -> dict[str, str]:
    """Return the replies of an earlier call by the hash of their prompt; start the file."""
    if not path.exists():
        write_whole(path, f"{json.dumps(header)}\n".encode())
        return {}
    text = path.read_text(encoding="utf-8")
    # The line that an interrupted call was writing has no end.
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_whole(path, whole.encode())
    # Other ends of lines, such as U+2028, may be part of a reply.
    first, *lines = whole.split("\n")[:-1] or ["null"]
    if json.loads(first) != header:
        raise ValueError(
            f"{path} holds replies of another teacher or under other settings: {first}, not "
            f"{json.dumps(header)}. Use another file."
        )
    return {row["key"]: row["reply"] for row in map(json.loads, lines)}


def _append(path: Path, lines: Sequence[str]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise not_written(path, error) from error


def read_traces(
    path: str | os.PathLike[str],
    task: Task,
    examples: Sequence[Example] | None = None,
    *,
    others: Sequence[Example] = (),
    wrong: Wrong = "keep",
) -> Traces:
    """Read a teacher's traces and labels from a file: of a person, a model elsewhere or an API.

    A row has one of

    - ``reply``: the text that the teacher wrote
    - ``rationale`` and ``label``: reasoning and answer, already apart
    - ``response``: a line of a batch of chat completions, with ``content`` and, where the teacher
      thinks, ``reasoning_content`` in its first message; ``error``: a request that had no response

    Parameters
    ----------
    path : path
        A ``.jsonl``, ``.csv`` or ``.parquet`` file.
    task : Task
    examples : sequence of Example, optional
        What was asked. A row belongs to the example with its ``id`` (or ``custom_id``), else to
        the one with its ``text``. Without examples every row needs a ``text``, and no gold label
        is known.
    others : sequence of Example
        Known too, and not wanted: rows of theirs are passed over and counted.
    wrong : {"keep", "drop"}
        See `collect_traces`.

    Raises
    ------
    ValueError
        For a row of another form, one that belongs to no example, or two of the same example; the
        message says which row.
    """
    path = Path(path)
    rows = read_frame(path).astype(object).to_dict("records")
    rows = [{k: v for k, v in row.items() if not _missing(v)} for row in rows]
    if examples is None:
        examples = [_example(row, f"{path.name} row {i}") for i, row in enumerate(rows, 1)]
        return collect_traces(task, examples, list(_replies(path, rows, task)), wrong=wrong)
    places, outside, passed = _places(examples), set(_places(others)), 0
    replies: list[str | None] = [None] * len(examples)
    for number, (row, reply) in enumerate(zip(rows, _replies(path, rows, task), strict=True), 1):
        names = [(f, str(row[f])) for f in ("id", "custom_id", "text") if f in row]
        known = next((name for name in names if name in places or name in outside), None)
        place = None if known is None else places.get(known)
        if known in outside and (place is None or replies[place] is not None):
            passed += 1
            continue
        if place is None or replies[place] is not None:
            fault = "belongs to no example" if place is None else "repeats an example"
            raise ValueError(f"{path.name} row {number} {fault}: {dict(names)}.")
        if "text" in row and str(row["text"]).strip() != examples[place].text.strip():
            raise ValueError(
                f"{path.name} row {number} has the id {examples[place].id!r} of one example and "
                f"the text of another: {row['text']!r}, not {examples[place].text!r}. Leave out "
                "the column that is wrong."
            )
        replies[place] = reply
    return replace(collect_traces(task, examples, replies, wrong=wrong), passed=passed)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value)) or value == ""


def _example(row: dict[str, Any], where: str) -> Example:
    if "text" not in row:
        raise ValueError(f"{where} has no text; add a column text, or pass examples=.")
    return Example(str(row["text"]), "", id=str(row.get("id", row.get("custom_id", where))))


def _places(examples: Sequence[Example]) -> dict[tuple[str, str], int]:
    """Place of each example by id and by text; names that two examples share are left out."""
    names = [
        [("id", e.id), ("custom_id", e.id)] * bool(e.id) + [("text", e.text)] for e in examples
    ]
    counts = Counter(name for group in names for name in group)
    return {name: i for i, group in enumerate(names) for name in group if counts[name] == 1}


def _replies(path: Path, rows: Sequence[dict[str, Any]], task: Task) -> Iterable[str | None]:
    for number, row in enumerate(rows, start=1):
        if "reply" in row:
            yield str(row["reply"])
        elif "rationale" in row and "label" in row:
            yield (f"<think>{row['rationale']}</think>\n{task.answer_marker} {row['label']}")
        elif "response" in row or "error" in row:
            yield _completion(row.get("response"))
        else:
            raise ValueError(
                f"{path.name} row {number} has {sorted(row)}; it needs reply, or rationale and "
                "label, or response."
            )


def _completion(response: Any) -> str | None:
    """Return the text of a chat completion; None if the request failed."""
    try:
        message = response["body"]["choices"][0]["message"]
        content = message["content"]
    except (KeyError, IndexError, TypeError):
        return None
    thought = message.get("reasoning_content") or message.get("reasoning")
    return f"<think>{thought}</think>\n{content}" if thought else content
