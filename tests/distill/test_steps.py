"""What a chain does with files that lack something, and with names whose content has changed."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config

from distill import steps
from distill.config import load_config
from distill.data import load_data
from distill.models import ModelError, folder_identity, load_model, load_tokenizer, save_model
from distill.run import run_chain
from distill.stages import Stages
from distill.steps import Steps
from distill.student import make_accelerator
from distill.tiny import tiny_config

BRIEF = (
    "data.pool=16", "data.train=13", "data.validation=8", "data.test=20", "adapt=null",
    "prune.kept=[.5]", "prune.calibration=8", "evaluate.replies=4", "evaluate.tokens=8",
    "train.max_steps=1", "evaluate.pruned=false",
)  # fmt: skip


@pytest.fixture
def settings(ground, tmp_path):
    """Return a function of overrides of a short chain."""
    return lambda *changes: tiny_config(ground, [*BRIEF, f"out={tmp_path / 'out'}", *changes])


@pytest.fixture
def bare(ground, settings, tmp_path):
    """Return a function of overrides of a chain on a file of headlines without reasons.

    Their reasons are traces of the pool, as from an API.
    """
    rows = map(json.loads, (ground / "easy-headlines.jsonl").read_text().splitlines())
    lines = [json.dumps({name: row[name] for name in ("text", "label", "id")}) for row in rows]
    source = tmp_path / "bare.jsonl"
    source.write_text("".join(f"{line}\n" for line in lines))
    given = [f"data.source={source}"]
    pool = load_data(settings(*given).data).pool
    replies = [{"id": e.id, "reply": f"Reason: Clear.\nEvent: {e.label}"} for e in pool]
    (tmp_path / "traces.jsonl").write_text("".join(json.dumps(r) + "\n" for r in replies))
    given += [f"data.traces={tmp_path / 'traces.jsonl'}", "data.label_source=teacher"]
    return lambda *changes: settings(*given, "supervision.format=blended", *changes)


def test_reasons_of_the_pool_alone_are_enough(bare):
    """Nothing is measured on the validation examples, which have none."""
    adapt = "adapt={examples: 13, train: {max_steps: 1}}"
    log = run_chain(bare(adapt, "supervision.cache=topk"), bar=False)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["phase"] for row in rows] == ["teacher", "distilled"]
    assert rows[1]["format"] == "blended"


def test_measuring_reasons_that_are_not_there_says_what_to_write(bare):
    with pytest.raises(ValueError, match=r"validation examples of .*bare\.jsonl have none.*null"):
        run_chain(bare("train.validate_every=1"), bar=False)


def test_another_model_of_the_same_ends_is_not_taken_for_the_first(settings, tmp_path, ground):
    teacher = tmp_path / "teacher"
    model = load_model(ground / "base")
    model.resize_token_embeddings(5000, mean_resizing=False)
    big = AutoModelForCausalLM.from_config(type(model.config)(
        **model.config.to_dict() | {"intermediate_size": 4096, "vocab_size": 5000}
    ))  # fmt: skip
    save_model(big, load_tokenizer(ground / "base"), teacher)
    config = settings(f"model.teacher={teacher}")

    def given():
        stages = Stages(tmp_path / "out" / "stages", make_accelerator())
        return Steps(config, load_data(config.data), stages, bar=False).given(str(teacher)).key

    before = given()
    assert given() == before
    weights = load_file(teacher / "model.safetensors")
    weights["model.layers.1.mlp.gate_proj.weight"] += 0.01
    save_file(weights, teacher / "model.safetensors", metadata={"format": "pt"})
    assert before == f"given-{folder_identity(teacher)}", "the key knows the ends alone"
    with pytest.raises(ModelError, match="holds other weights than those that .* Use another out"):
        given()


def test_empty_lines_of_general_texts_are_no_texts(settings, tmp_path):
    texts = tmp_path / "general.txt"
    texts.write_text("\nShares fall in Lisbon.\n \nThe boss leaves the firm.\n\n")
    log = run_chain(settings(f"evaluate.texts={texts}"), bar=False)
    assert json.loads(log.read_text().splitlines()[0])["general_kl_n"] == 2
    texts.write_text("Shares fall in Lisbon.\n\n")
    with pytest.raises(ValueError, match=r"general\.txt holds 1 texts; a standard error needs two"):
        run_chain(settings(f"evaluate.texts={texts}", "name=other"), bar=False)


def test_general_texts_compare_models_of_one_tokenizer(settings, ground, tmp_path):
    """Text may be learnt across tokenizers; a divergence between their tokens means nothing."""
    tokenizer = load_tokenizer(ground / "base")
    file = tmp_path / "student"
    save_model(load_model(ground / "base"), tokenizer, file)
    content = json.loads((file / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (file / "tokenizer.json").write_text(json.dumps(content))
    (tmp_path / "general.txt").write_text("Shares fall.\nThe boss leaves.\n")
    asked = [f"model.student={file}", "supervision.alpha=0"]
    texts = f"evaluate.texts={tmp_path / 'general.txt'}"
    with pytest.raises(
        ModelError, match=r"measures the divergence .* different tokenizers: '[ab]'"
    ):
        run_chain(settings(*asked, texts), bar=False)
    run_chain(settings(*asked), bar=False)


def test_the_divergence_is_from_the_teacher_that_is_named(settings, ground, tmp_path):
    """A student that learns text alone has no teacher in its key, its divergence has."""
    other = tmp_path / "other"
    model = load_model(ground / "base")
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.mul_(30)
    save_model(model, load_tokenizer(ground / "base"), other)
    (tmp_path / "general.txt").write_text("Shares fall.\nThe boss leaves.\n")
    asked = [f"model.student={ground / 'base'}", "supervision.alpha=0",
             f"evaluate.texts={tmp_path / 'general.txt'}"]  # fmt: skip
    log = run_chain(settings(*asked), bar=False)
    run_chain(settings(*asked, f"model.teacher={other}"), bar=False)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    first, second = (r["general_kl"] for r in rows if r["phase"] == "distilled")
    assert second > first + 0.01


def test_a_student_of_another_type_has_the_sizes_that_it_names():
    model = AutoModelForCausalLM.from_config(
        GPT2Config(vocab_size=32, n_embd=16, n_head=2, n_layer=1, n_positions=8)
    )
    found = steps._sizes(model)
    assert (found["layers"], found["hidden"], found["kv_heads"]) == (1, 16, None)
    assert found["params"] == model.num_parameters()


def test_traces_are_asked_of_the_whole_pool_with_its_gold_labels(bare, monkeypatch, tmp_path):
    """Whatever is left of the traces of an earlier time, which the settings may name."""
    from distill import traces
    from distill.cli import main
    from distill.config import save_config

    asked = []

    def write(model, tokenizer, task, examples, **options):
        asked.extend(examples)
        return traces.Traces([], traces.pd.DataFrame(columns=["outcome", "gold", "answer"]))

    monkeypatch.setattr(traces, "write_traces", write)
    config = bare()
    file = Path(config.data.traces)
    lines = file.read_text().splitlines()
    labels = load_data(config.data).task.labels
    wrong = [json.dumps({"id": json.loads(line)["id"], "reply": f"Reason: x\nEvent: {labels[0]}"})
             for line in lines[:14]]  # fmt: skip
    file.write_text("".join(f"{line}\n" for line in wrong))
    save_config(config, tmp_path / "c.yaml")
    with pytest.raises(SystemExit):
        main(["traces", str(tmp_path / "c.yaml"), str(tmp_path / "new.jsonl")])
    plain = load_config(config, ["data.traces=null", "data.label_source=gold"])
    assert asked == load_data(plain.data).pool


@pytest.mark.parametrize(("tokens", "limit"), [("null", 256), ("20", 20)])
def test_students_of_long_reasons_may_write_them(bare, monkeypatch, tokens, limit):
    config = bare(f"evaluate.tokens={tokens}", "supervision.alpha=0")
    file = Path(config.data.traces)
    file.write_text(file.read_text().replace("Clear.", "It is clear. " * 45))
    asked, plain = [], steps.evaluate

    def seen(*args, max_new_tokens, **options):
        asked.append(max_new_tokens)
        return plain(*args, max_new_tokens=8, **options)

    monkeypatch.setattr(steps, "evaluate", seen)
    run_chain(config, bar=False)
    assert len(asked) == 2
    assert min(asked) == max(asked) == limit if tokens != "null" else min(asked) > limit


def test_traces_of_a_whole_file_are_those_of_its_pool(bare):
    config = bare()
    plain = load_data(config.data)
    rows = map(json.loads, Path(config.data.source).read_text().splitlines())
    lines = [json.dumps({"id": r["id"], "reply": f"Reason: Clear.\nEvent: {r['label']}"})
             for r in rows]  # fmt: skip
    Path(config.data.traces).write_text("".join(f"{line}\n" for line in lines))
    found = load_data(config.data)
    assert found.pool == plain.pool
    assert found.notes[-1].endswith(f"{len(lines) - 16} rows of examples outside the pool were "
                                    "passed over.")  # fmt: skip
