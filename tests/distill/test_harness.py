"""MMLU and MMLU-Pro in the harness's own form, from files that lie here."""

import json

import pytest
import yaml

from distill.config import load_config
from distill.general import lm_eval_scores
from distill.likelihood import log_likelihoods
from distill.models import load_model, load_tokenizer
from distill.run import run_chain
from distill.scores import proportion
from distill.tiny import tiny_config

pytest.importorskip("lm_eval")
# The harness and what it brings warn of their own ways.
pytestmark = pytest.mark.filterwarnings("ignore")

SUBJECTS = {"anatomy": 5, "astronomy": 9}
MMLU = {
    "dataset_path": "json",
    "test_split": "test",
    "fewshot_split": "dev",
    "fewshot_config": {"sampler": "first_n"},
    "output_type": "multiple_choice",
    "doc_to_text": "{{question.strip()}}\nA. {{choices[0]}}\nB. {{choices[1]}}\n"
    "C. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:",
    "doc_to_choice": ["A", "B", "C", "D"],
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
MMLU_PRO = {
    "dataset_path": "json",
    "test_split": "test",
    "fewshot_split": "validation",
    "output_type": "generate_until",
    "doc_to_text": "Question:\n{{question}}\nOptions:\n{{options | join('\n')}}\nAnswer:",
    "doc_to_target": "answer",
    "filter_list": [
        {
            "name": "custom-extract",
            "filter": [
                {"function": "regex", "regex_pattern": r"answer is \(?([ABCDEFGHIJ])\)?"},
                {"function": "take_first"},
            ],
        }
    ],
    "generation_kwargs": {"until": ["Question:"], "max_gen_toks": 4, "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}


def group(name, tasks, metric, **options):
    weighted = {"metric": metric, "weight_by_size": True, **options}
    return {"group": name, "task": tasks, "aggregate_metric_list": [weighted]}


def question(subject, i):
    choices = [f"{subject} {word}" for word in ("up", "down", "left", "right")]
    return {"question": f"Where is {subject} {i}? ", "choices": choices, "answer": i % 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return task files with the nesting of the real ones: group, group, tag, subject."""
    path = tmp_path_factory.mktemp("tasks")

    def write(name, content):
        (path / name).write_text(yaml.safe_dump(content))

    def rows(name, content):
        (path / name).write_text("".join(f"{json.dumps(row)}\n" for row in content))
        return str(path / name)

    write("_mmlu_template", MMLU)
    write("_mmlu_pro_template", MMLU_PRO)
    write("mmlu.yaml", group("mmlu", ["mmlu_stem"], "acc"))
    write("mmlu_stem.yaml", group("mmlu_stem", ["mmlu_stem_tasks"], "acc"))
    pro = [f"mmlu_pro_{subject}" for subject in SUBJECTS]
    write(
        "mmlu_pro.yaml",
        group("mmlu_pro", pro, "exact_match", aggregation="mean", filter_list="custom-extract"),
    )
    for subject, n in SUBJECTS.items():
        test = [question(subject, i) for i in range(n)]
        letters = [{**q, "options": q["choices"], "answer": "ABCD"[q["answer"]]} for q in test]
        files = {
            "test": rows(f"{subject}-test.jsonl", test),
            "dev": rows(f"{subject}-dev.jsonl", test[:2]),
        }
        about = {"tag": "mmlu_stem_tasks", "task": f"mmlu_{subject}", "include": "_mmlu_template"}
        write(f"mmlu_{subject}.yaml", {**about, "dataset_kwargs": {"data_files": files}})
        files = {
            "test": rows(f"{subject}-pro.jsonl", letters),
            "validation": rows(f"{subject}-pro-validation.jsonl", letters[:2]),
        }
        about = {"task": f"mmlu_pro_{subject}", "include": "_mmlu_pro_template"}
        write(f"mmlu_pro_{subject}.yaml", {**about, "dataset_kwargs": {"data_files": files}})
    return path


def right_answers(model, tokenizer):
    """Count the questions whose gold letter the model holds for the likeliest."""
    prompts, ends, gold = [], [], []
    for subject, n in SUBJECTS.items():
        for i in range(n):
            q = question(subject, i)
            lines = [f"{a}. {text}" for a, text in zip("ABCD", q["choices"], strict=True)]
            text = "\n".join([q["question"].strip(), *lines, "Answer:"])
            prompts.append(tokenizer(text)["input_ids"])
            whole = [tokenizer(f"{text} {a}")["input_ids"] for a in "ABCD"]
            ends.append([ids[len(prompts[-1]) :] for ids in whole])
            gold.append(q["answer"])
    found = log_likelihoods(model, prompts, ends)
    return sum(int(row.argmax()) == a for row, a in zip(found, gold, strict=True))


def test_groups_of_subjects_are_scored_from_local_files(ground, folder):
    model = load_model(ground / "base")
    tokenizer = load_tokenizer(ground / "base", model)
    found = lm_eval_scores(
        model, tokenizer, ["mmlu", "mmlu_pro"], include_path=folder, num_fewshot=0
    )
    n = sum(SUBJECTS.values())
    right = right_answers(model, tokenizer)
    assert 0 < right < n
    assert (found["mmlu"], found["mmlu_se"]) == pytest.approx(proportion(right, n))
    # An untrained model writes no such sentence.
    assert (found["mmlu_pro"], found["mmlu_pro_se"]) == proportion(0, n)
    assert (found["mmlu_n"], found["mmlu_pro_n"]) == (n, n)


def test_a_chain_logs_them(ground, folder, tmp_path):
    asked = {"tasks": ["mmlu", "mmlu_pro_anatomy"], "include_path": str(folder), "limit": 4}
    config = tiny_config(
        ground,
        [f"out={tmp_path}", "adapt=null", "prune.kept=[.5]", "train.max_steps=1", "data.pool=16",
         "data.train=16", "data.validation=8", "data.test=20", "prune.calibration=8",
         "evaluate.replies=4", "evaluate.pruned=false", "evaluate.lm_eval.num_fewshot=1",
         *(f"evaluate.lm_eval.{name}={json.dumps(value)}" for name, value in asked.items())],
    )  # fmt: skip
    log = run_chain(config, bar=False)
    for line in log.read_text().splitlines():
        row = json.loads(line)
        # At most four items a subject.
        assert (row["mmlu_n"], row["mmlu_pro_anatomy_n"]) == (8, 4)
        assert 0 <= row["mmlu"] <= 1
        assert row["mmlu_pro_anatomy_se"] > 0
    before = {path.name for path in (tmp_path / "stages").glob("score-*")}
    again = folder / "note.txt"
    again.write_text("other content, so that scores are made anew")
    run_chain(load_config(config, ["name=later"]), bar=False)
    assert len({path.name for path in (tmp_path / "stages").glob("score-*")} - before) == 2
    again.unlink()
