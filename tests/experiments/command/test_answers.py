"""Help and options, as they are shown."""

import pytest

from experiments.command.answers import answer


def shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit, match="0"):
        answer(arguments)
    return capsys.readouterr().out.splitlines()


def test_options_are_a_line_each_with_value_type_and_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(["fit", "--config", "dqn.yaml", "--model.num_bits", "32", "--options"], capsys)
    by_name = {line[2:].split()[0].partition("=")[0]: line for line in lines if line[2:].startswith("--")}
    meaning = "Length of a code, B = M log2 K*."
    assert by_name["--model.num_bits"] == f"{'* --model.num_bits=32':42} {'int':14} {meaning}"
    assert by_name["--data.esc10"].startswith("  --data.esc10=false ")
    assert "one|" not in by_name["--model.scoring.zero_hit"]
    assert "zero|drop" in by_name["--model.scoring.zero_hit"]
    assert "[CodebookRefit, ModelCheckpoint, " in by_name["--trainer.callbacks"]
    assert "--model.input_dim" not in by_name  # the data module gives it
    assert "--model.network.output_dim" not in by_name  # the model does
    groups = [line.removesuffix(":") for line in lines if line.endswith(":") and " " not in line]
    assert groups == ["fit", "model", "data", "trainer", "preemption"]


def test_a_terminal_gets_lines_of_its_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    lines = shown(["fit", "--config", "dqn.yaml", "--options"], capsys)
    assert max(len(line) for line in lines[1:]) == 100


def test_help_of_a_command_lists_what_needs_no_config(capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(shown(["test", "--help"], capsys))
    assert "usage: python train.py test --config NAME" in text
    assert "--trainer.max_epochs" in text
    assert "--ckpt_path" in text
    assert "--config dqn.yaml --options" in text


def test_no_command_is_answered_with_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        answer([])
    said = capsys.readouterr()
    assert not said.out
    assert "predict" in said.err


def test_a_command_line_without_a_question_is_let_through(capsys: pytest.CaptureFixture[str]) -> None:
    answer(["fit", "--config", "demo.yaml", "--model.num_bits=8"])
    answer(["--print_shtab=bash"])  # before the command: the parser's
    assert capsys.readouterr().out == ""
