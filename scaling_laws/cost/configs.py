"""The shape of a Hugging Face model, from its ``config.json``; whatever is not understood fails."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from .shapes import Shape, named

__all__ = ["FAMILIES", "shape"]

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""Model types whose weights are known."""

# Marks of experts, other towers, layers of different sizes: weights that a Shape has no field for.
_FOREIGN = (
    "expert", "moe", "vision", "audio", "text_config", "block_configs", "per_layer", "nextn",
    "heterogeneous", "cross_attention", "mamba",
)  # fmt: skip


def shape(source: str | os.PathLike[str] | Mapping[str, Any] | Shape) -> Shape:
    """Return the shape of a model.

    A sliding window is not part of it: where a context exceeds one, cache and attention are counted
    in full.

    Parameters
    ----------
    source : str, path, mapping or Shape
        The name of a published model (``"Qwen3-32B"``, ``"Qwen/Qwen3-32B"``); a ``config.json`` or
        the folder that holds it; or its content.

    Returns
    -------
    Shape
        Layers, widths, heads and vocabulary, from which parameters, memory and FLOPs are counted.

    Raises
    ------
    KeyError
        For a name that is not in the table and no path.
    TypeError
        For what is none of these, such as a number of parameters.
    ValueError
        For a config of another model type, with experts, or quantised in a way that is not
        understood; it names what it was.
    """
    if isinstance(source, Shape):
        return source
    if isinstance(source, Mapping):
        return _read(source, "config")
    if not isinstance(source, str | os.PathLike):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"shape: {source!r} is no name, path, config or Shape; a number of parameters has no "
            'shape, so name a model, such as "Qwen3-8B", or give its config.json.'
        )
    path = Path(source)
    if path.is_dir():
        path = path / "config.json"
    if not path.is_file():
        if path.suffix == ".json" or isinstance(source, os.PathLike):
            raise ValueError(f"{path} is not there.")
        return named(source)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} does not hold an object.")
    return _read(cast(Mapping[str, Any], content), str(path))


def _read(config: Mapping[str, Any], where: str) -> Shape:
    family = config.get("model_type")
    if family not in FAMILIES:
        raise ValueError(
            f"{where}: model_type = {family!r} is not understood; there are "
            f"{', '.join(FAMILIES)}. For another decoder of the same build, write a Shape."
        )
    _refuse_foreign(config, where)
    heads = _size(config, "num_attention_heads", where)
    kv_heads = heads
    if family != "llama" or config.get("num_key_value_heads") is not None:
        kv_heads = _size(config, "num_key_value_heads", where)
    hidden = _size(config, "hidden_size", where)
    head_dim = hidden // heads
    if family == "qwen3" or config.get("head_dim") is not None:
        head_dim = _size(config, "head_dim", where)
    biased = bool(config.get("attention_bias", False)) and family in ("llama", "qwen3")
    weight_bits, group = _quantisation(config.get("quantization_config"), where)
    return Shape(
        layers=_size(config, "num_hidden_layers", where),
        hidden=hidden,
        ffn=_size(config, "intermediate_size", where),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=_size(config, "vocab_size", where),
        tied=bool(config.get("tie_word_embeddings", False)),
        qk_norm=family == "qwen3",
        qkv_bias=biased or family == "qwen2",
        o_bias=biased,
        mlp_bias=bool(config.get("mlp_bias", False)) and family == "llama",
        weight_bits=weight_bits,
        group=group,
        family=family,
        name=str(config.get("_name_or_path") or ""),
    )


def _refuse_foreign(config: Mapping[str, Any], where: str) -> None:
    for key, value in config.items():
        foreign = any(mark in key.lower() for mark in _FOREIGN)
        if foreign and value not in (None, False, 0, [], {}):
            raise ValueError(
                f"{where}: {key} = {value!r} is not understood; only dense decoders whose layers "
                "are alike are."
            )
    for name in config.get("architectures") or ():
        if not str(name).endswith("ForCausalLM"):
            raise ValueError(f"{where}: {name} has another head than a language model's.")
    act = config.get("hidden_act", "silu")
    if act not in ("silu", "swish"):
        raise ValueError(f"{where}: hidden_act = {act!r} is not understood; there is 'silu'.")


def _size(config: Mapping[str, Any], key: str, where: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{where}: {key} = {value!r} is not a whole number from 1.")
    return value


def _quantisation(settings: Any, where: str) -> tuple[int, int]:
    """Return bits of a weight and the weights that share a scale."""
    if settings is None:
        return 16, 0
    if not isinstance(settings, Mapping):
        raise ValueError(f"{where}: quantization_config = {settings!r} is not an object.")
    given = cast(Mapping[str, Any], settings)
    method = given.get("quant_method")
    skipped = [m for m in given.get("modules_to_not_convert") or () if m != "lm_head"]
    if skipped or given.get("lm_head") or given.get("dynamic"):
        raise ValueError(
            f"{where}: quantization_config treats some matrices apart; only layers quantised "
            "alike, with embedding and output head in 16 bits, are understood."
        )
    if method in ("awq", "gptq"):
        bits, group = given.get("bits"), given.get("group_size")
        if bits not in (2, 3, 4, 8) or not isinstance(group, int):
            raise ValueError(
                f"{where}: quantization_config of {method} has bits = {bits!r}, group_size = "
                f"{group!r}; write whole numbers."
            )
        return bits, max(group, 0)
    if method == "fp8":
        return 8, 0
    raise ValueError(
        f"{where}: quantization_config of method {method!r} is not understood; there are awq, "
        "gptq and fp8. Read the config without it, and use Shape.quantised."
    )
