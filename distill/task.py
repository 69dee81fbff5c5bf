"""What a classification task is: labels, prompt, targets and how an answer is read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from jinja2 import TemplateError

from .examples import Example

__all__ = ["Encoded", "Format", "Target", "Task", "chat_text", "has_chat", "plain_ids"]

Format = Literal["label", "cot", "blended"]
_FORMATS = ("label", "cot", "blended")
# Stands before a template, whose first line break it leaves alone; the date is the one that the
# templates of Llama 3 have where they know none.
_DATE = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}{{ '' }}"


@dataclass(frozen=True)
class Target:
    """The reply a student learns, with the character spans that its loss tells apart.

    Parameters
    ----------
    text : str
        ``lead``, then what is learnt. The lead is given, at training and at evaluation alike.
    lead : str
        ``Event:`` for a label, ``Reason:`` for reasoning: it says which of the two is wanted.
    reasoning : (int, int) or None
        Characters of the rationale and the answer marker; None for the format ``label``.
    answer : (int, int)
        Characters of the label.
    """

    text: str
    lead: str
    reasoning: tuple[int, int] | None
    answer: tuple[int, int]


@dataclass(frozen=True)
class Encoded:
    """Token ids of prompt and target, with the spans of a `Target` as slices of ``ids``.

    ``prompt`` ends with the lead; ``reasoning`` is empty for the format ``label``; ``answer`` is
    the label and the end-of-sequence token. Together they are the whole sequence.
    """

    ids: tuple[int, ...]
    prompt: slice
    reasoning: slice
    answer: slice


@dataclass(frozen=True)
class Task:
    """A closed set of labels and the words that ask for one of them.

    Parameters
    ----------
    name : str
    labels : sequence of str
        Fixes the order of classes everywhere.
    instruction : str
        Short: a student is adapted to the task, the labels need not be listed.
    instruction_role : {"system", "user"}
        Where a chat template puts the instruction; with the user's text too where the template
        refuses a system turn or leaves it out.
    reason_marker, answer_marker : str
        Leads of the reasoning and of the answer.
    """

    name: str
    labels: tuple[str, ...]
    instruction: str
    instruction_role: Literal["system", "user"] = "system"
    reason_marker: str = "Reason:"
    answer_marker: str = "Event:"

    def __post_init__(self) -> None:
        """Refuse labels that an answer could not be read back into."""
        object.__setattr__(self, "labels", tuple(self.labels))
        bad = [label for label in self.labels if label != label.strip() or not label]
        bad += [label for label in self.labels if "\n" in label]
        bad += [label for label, count in Counter(self.labels).items() if count > 1]
        if bad or len(self.labels) < 2:
            raise ValueError(
                f"Task {self.name!r}: labels must be two or more distinct single lines without "
                f"spaces around them; not {sorted(set(bad)) or list(self.labels)}."
            )
        if self.instruction_role not in ("system", "user"):
            raise ValueError(
                f"Task {self.name!r}: instruction_role = {self.instruction_role!r} is not "
                "'system' or 'user'."
            )

    def lead(self, format: Format) -> str:
        """How a reply in this format begins."""
        if format not in _FORMATS:
            raise ValueError(f"format = {format!r} is not one of {', '.join(_FORMATS)}.")
        return self.answer_marker if format == "label" else self.reason_marker

    def prompt(self, text: str, tokenizer: Any, format: Format | None = None) -> str:
        """Ask the question, in the tokenizer's chat template where it has one.

        Parameters
        ----------
        text : str
        tokenizer : transformers tokenizer
        format : str, optional
            Append the lead of this format, as for generating or scoring a reply. Reasoning is
            asked for by the lead, so a template's own thinking mode is switched off.
        """
        lead = "" if format is None else self.lead(format)
        if not has_chat(tokenizer):
            return f"{self.instruction}\n{text}\n{lead}"
        chat = None
        if self.instruction_role == "system":
            turns = [("system", self.instruction), ("user", text)]
            with suppress(TemplateError):  # Mistral's first ones refuse it, others leave it out
                chat = chat_text(tokenizer, turns)
        if chat is None or self.instruction.strip() not in chat:
            chat = chat_text(tokenizer, [("user", f"{self.instruction}\n{text}")])
        return chat + lead

    def target(self, example: Example, format: Format) -> Target:
        """Write the reply to learn; ``blended`` has the text of ``cot`` and differs in its loss."""
        lead = self.lead(format)
        if example.label not in self.labels:
            raise ValueError(
                f"Example {example.id!r}: label {example.label!r} is not a label of the task "
                f"{self.name!r}."
            )
        if format == "label":
            text = f"{lead} {example.label}"
            return Target(text, lead, None, (len(lead), len(text)))
        if not example.rationale:
            raise ValueError(
                f"Example {example.id!r} has no rationale, which format {format!r} needs. Write "
                "traces first, or use the format 'label'."
            )
        reasoning = f" {self.one_answer(example.rationale)}\n{self.answer_marker}"
        start, stop = len(lead), len(lead) + len(reasoning)
        text = f"{lead}{reasoning} {example.label}"
        return Target(text, lead, (start, stop), (stop, len(text)))

    def one_answer(self, rationale: str) -> str:
        """Set in by a space each further line of a rationale that begins like an answer.

        Else the reply would have two answers, and be read as none.
        """
        return re.sub(rf"\n(?={re.escape(self.answer_marker)})", "\n ", rationale)

    def encode(self, example: Example, tokenizer: Any, format: Format) -> Encoded:
        """Token ids of prompt and target.

        Prompt, reasoning and answer are tokenized one by one, so that no token spans two of them
        and a label has the same tokens in training and in scoring (see `label_ids`).
        """
        target = self.target(example, format)
        prompt = self.prompt_ids(example.text, tokenizer, format)
        reasoning: list[int] = []
        if target.reasoning is not None:
            reasoning = plain_ids(tokenizer, target.text[slice(*target.reasoning)])
        answer = self._label_ids(example.label, tokenizer)
        a, b = len(prompt), len(prompt) + len(reasoning)
        ids = (*prompt, *reasoning, *answer)
        return Encoded(ids, slice(0, a), slice(a, b), slice(b, len(ids)))

    def prompt_ids(self, text: str, tokenizer: Any, format: Format) -> list[int]:
        """Token ids of the prompt and the lead of a format."""
        prompt = self.prompt(text, tokenizer, format)
        return plain_ids(tokenizer, prompt, special=not has_chat(tokenizer))

    def label_ids(self, tokenizer: Any) -> list[list[int]]:
        """Token ids by which the labels are scored: no label begins with another one's.

        Where one would, all of them have the end of the sequence; else it is left out, for the
        tokens that follow a label cost half of a scoring pass and tell no labels apart.
        """
        labels = [plain_ids(tokenizer, f" {label}") for label in self.labels]
        heads = {tuple(ids[:n]) for ids in labels for n in range(1, len(ids))}
        if heads.isdisjoint(map(tuple, labels)):
            return labels
        return [self._label_ids(label, tokenizer) for label in self.labels]

    def _label_ids(self, label: str, tokenizer: Any) -> list[int]:
        eos = tokenizer.eos_token_id
        return plain_ids(tokenizer, f" {label}") + ([] if eos is None else [eos])

    def parse(self, text: str) -> str | None:
        """Read the label that a reply gives, or None when it gives none.

        The reply includes its lead. A label counts when it is all that follows the answer marker
        on a line that begins with it. Replies without such a line, with another text there or with
        two different answers are unparsed: they are counted, never guessed.
        """
        marker = re.escape(self.answer_marker)
        answers = {line.strip() for line in re.findall(rf"^{marker}(.*)$", text, re.MULTILINE)}
        answer = answers.pop() if len(answers) == 1 else None
        return answer if answer in self.labels else None


def has_chat(tokenizer: Any) -> bool:
    """Whether prompts are written in the tokenizer's chat format."""
    return getattr(tokenizer, "chat_template", None) is not None


def chat_text(tokenizer: Any, turns: Sequence[tuple[str, str]]) -> str:
    """Write turns of (role, content) in a tokenizer's chat format, up to where a reply begins.

    A template that writes today's date gets one that never changes: else a model would be asked
    otherwise than it was taught, and a cache be of other sequences, from midnight on.
    """
    template = tokenizer.chat_template
    template = template if isinstance(template, str) else tokenizer.get_chat_template()
    dated = {"chat_template": _DATE + template} if "strftime_now" in template else {}
    return tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in turns],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,
        **dated,
    )


def plain_ids(tokenizer: Any, text: str, *, special: bool = False) -> list[int]:
    """Token ids of a text as it stands, or with the tokenizer's own special tokens."""
    # A chat template writes its special tokens itself; elsewhere the tokenizer adds them once.
    return list(tokenizer(text, add_special_tokens=special)["input_ids"])
