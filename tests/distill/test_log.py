"""A log that two calls of one chain write at the same time."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

from distill import log as module
from distill.log import Log

ROW = {
    "run_id": "a/0-teacher", "chain_id": "a", "stage": 0, "phase": "teacher", "kept": 1.0,
    "kept_of": "total", "params": 10, "task_f1": 0.5, "task_f1_se": 0.1, "task_f1_n": 20,
}  # fmt: skip


def test_a_row_that_two_know_at_once_is_written_once(tmp_path, monkeypatch):
    plain = module.append_run

    def slowly(*args, **options):
        time.sleep(0.3)
        plain(*args, **options)

    monkeypatch.setattr(module, "append_run", slowly)
    process = SimpleNamespace(is_main_process=True, wait_for_everyone=lambda: None)
    logs = [Log(tmp_path / "runs.jsonl", process, lambda line: None, []) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda log: log.add(ROW), logs))
    lines = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert [json.loads(line)["run_id"] for line in lines] == ["a/0-teacher"]


def test_a_row_is_found_whatever_ends_of_lines_its_texts_have(tmp_path):
    process = SimpleNamespace(is_main_process=True, wait_for_everyone=lambda: None)
    log = Log(tmp_path / "runs.jsonl", process, lambda line: None, [])
    for _ in range(2):
        log.add({**ROW, "teacher": "a\u2028b"})
    assert len((tmp_path / "runs.jsonl").read_bytes().splitlines()) == 1
