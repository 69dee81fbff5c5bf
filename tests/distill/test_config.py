"""What is read is what was written; what is not known is refused; the hash sees what matters."""

import copy

import pytest
from pydantic import BaseModel, ValidationError

from distill.config import Config, ConfigError, essential, load_config, save_config
from distill.files import StorageError

LEAST = {"model": {"teacher": "some/folder"}}


def test_yaml_returns_an_equal_configuration(tmp_path):
    config = load_config(
        LEAST, ["train.lr=1e-5", "train.lora.rank=4", "prune.split={ffn: 1, hidden: .5}",
                "adapt.replay.texts=9", "seed=3"],
    )  # fmt: skip
    save_config(config, tmp_path / "c.yaml")
    again = load_config(tmp_path / "c.yaml")
    assert again == config
    assert again.hash == config.hash
    assert (again.train.lr, again.train.lora.rank, again.adapt.replay.texts) == (1e-5, 4, 9)


def test_settings_on_a_full_disk_are_the_old_ones(tmp_path, full_disk):
    path = tmp_path / "c.yaml"
    save_config(load_config(LEAST), path)
    full_disk("c.yaml*")
    with pytest.raises(StorageError, match="c.yaml could not be written"):
        save_config(load_config(LEAST, ["seed=3"]), path)
    assert load_config(path) == load_config(LEAST)
    assert list(tmp_path.iterdir()) == [path]


def test_overrides_do_not_touch_their_source():
    source = copy.deepcopy(LEAST)
    load_config(source, ["model.teacher=other", "train.lr=1"])
    assert source == LEAST


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("train.lrr=1", "train.lrr is not a setting; did you mean train.lr?"),
        ("trian.lr=1", "trian is not a setting; did you mean train?"),
        ("train.lora.rnk=1", "did you mean train.lora.rank?"),
        ("adapt.train.epoch=1", "did you mean adapt.train.epochs?"),
        ("qqqqqq=1", "known: name, seed, out"),
        ("train.lr=-1", "train.lr = -1: input should be greater than 0"),
        ("train.lr=.nan", "train.lr = nan"),
        ("supervision.format=labels", "'label', 'cot' or 'blended'"),
        ("prune.kept=[.5, .7]", "do not fall strictly"),
        ("prune.split={ffn: 0}", "greater than 0"),
        ("data.train=5000", "train = 5000 is more than pool = 4096"),
        ("prune.calibration=5000", "prune.calibration = 5000 is more than data.pool"),
        ("adapt.examples=5000", "adapt.examples = 5000 is more than data.pool"),
        ("train.patience=2", "patience needs validate_every"),
        ("train={lora: {}, parallel: fsdp}", "adapters are not sharded"),
        ("data.traces=t.jsonl", "label_source: teacher"),
        ("data.wrong=drop", "wrong = drop is about traces; name their file in traces"),
        ("name=a b", "name = 'a b'"),
        ("model=3", "model = 3"),
        ("evaluate.lm_eval={}", "evaluate.lm_eval.tasks is missing"),
        ("train", "write a.b=c"),
        ("train.lr=[", "is not YAML"),
    ],
)  # fmt: skip
def test_bad_settings_are_named(override, text):
    with pytest.raises(ConfigError) as error:
        load_config(LEAST, [override])
    assert text in str(error.value)


def test_all_faults_are_named_at_once(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("train: {lrr: 1, batch: 0}\n")
    with pytest.raises(ConfigError) as error:
        load_config(path)
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert all(str(path) in line for line in lines)
    assert any("model is missing" in line and "model.teacher" in line for line in lines)


@pytest.mark.parametrize("text", ["- 1\n", "a: [\n", "just words\n"])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        load_config(tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match="can't be read"):
        load_config(tmp_path / "absent.yaml")


def sections(model=Config):
    found = [model]
    for field in model.model_fields.values():
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found += sections(part)
    return found


def test_every_setting_is_described_and_frozen():
    for section in sections():
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"
    with pytest.raises(ValidationError):
        load_config(LEAST).seed = 1


@pytest.mark.parametrize(
    "override",
    ["seed=1", "out=elsewhere", "train.micro_tokens=99", "train.parallel=fsdp",
     "train.gradient_checkpointing=true", "train.checkpoint_every=7", "evaluate.batch=3"],
)  # fmt: skip
def test_hash_is_blind_to_seed_and_execution(override):
    assert load_config(LEAST, [override]).hash == load_config(LEAST).hash


@pytest.mark.parametrize(
    "override",
    ["train.lr=2e-4", "train.batch=8", "train.precision=bf16", "data.train=10", "data.seed=1",
     "prune.kept=[.5]", "supervision.format=cot", "model.teacher=b", "adapt={}",
     "evaluate.quiz=3", "evaluate.lm_eval.tasks=[mmlu]"],
)  # fmt: skip
def test_hash_sees_what_decides_results(override):
    assert load_config(LEAST, [override]).hash != load_config(LEAST).hash


def test_hash_does_not_see_the_order_of_keys():
    a = load_config({"model": {"teacher": "t", "dtype": "bfloat16"}, "seed": 0})
    b = load_config({"seed": 0, "model": {"dtype": "bfloat16", "teacher": "t"}})
    assert a.hash == b.hash


def test_execution_is_left_out_at_every_depth():
    values = essential(load_config(LEAST, ["adapt={}"]))
    assert "micro_tokens" not in values["train"]
    assert "micro_tokens" not in values["adapt"]["train"]
    assert values["adapt"]["train"]["lr"] == values["train"]["lr"]
