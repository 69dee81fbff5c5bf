"""Exit codes and sentences of the command."""

import pytest

from distill.cli import main


def stop(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main([str(w) for w in words])
    printed = capsys.readouterr()
    return end.value.code, printed.out, printed.err


def test_help_names_the_commands(capsys):
    code, out, _ = stop(capsys, "--help")
    assert code == 0
    assert "run" in out
    assert "tiny" in out


def test_a_missing_configuration_is_one_sentence(capsys, tmp_path):
    code, _, err = stop(capsys, "run", tmp_path / "absent.yaml")
    assert code == 2
    assert err.startswith("distill: ")
    assert "absent.yaml" in err


def test_an_unknown_setting_names_the_nearest(capsys, tmp_path):
    code, _, err = stop(capsys, "tiny", "--out", tmp_path, "--set", "train.lrr=1")
    assert code == 2
    assert "lr" in err
    assert "Traceback" not in err
