"""A W&B project, by a stand-in that has the fields its public API documents."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import wandb

from experiments.compare.run_files import NoRunsFound
from experiments.compare.wandb_project import is_project, read_project, read_project_runs
from tests.experiments.run_makers import config_tree


@dataclass
class ApiRun:
    """wandb.apis.public.Run, as far as it is documented."""

    name: str = "glad-river-7"
    state: str = "finished"
    config: Mapping[str, Any] = field(default_factory=lambda: config_tree() | {"data_name": "made up", "_wandb": {}})
    summary: Mapping[str, Any] = field(
        default_factory=lambda: {"test/mAP": 0.5, "epoch": 2, "_runtime": 9, "report/table": {"_type": "table-file"}}
    )
    group: str | None = "dqn"
    job_type: str | None = None
    tags: Iterable[str] = ("dqn",)
    created_at: str = "2026-01-01T00:00:00Z"

    def history(self, samples: int, pandas: bool) -> list[dict[str, Any]]:
        assert not pandas
        return [{"epoch": epoch, "_runtime": 3 * epoch, "val/mAP": 0.1 * epoch} for epoch in range(3)][:samples]


def test_runs_of_a_project_are_records() -> None:
    (run,), left_out = read_project_runs([ApiRun()])
    assert not left_out
    assert (run.name, run.config, run.data_name) == ("glad-river-7", "dqn", "made up")
    assert (run.group, run.job_type) == ("dqn", "")
    assert run.metrics == {"test/mAP": 0.5, "epoch": 2}
    assert run.options["model.num_bits"] == "8"
    assert not any(name.startswith("_") for name in run.options)
    assert [point.seconds for point in run.curves["val/mAP"]] == [0, 3, 6]


@pytest.mark.parametrize("state", ["running", "crashed", "failed", "killed"])
def test_unfinished_runs_are_left_out(state: str) -> None:
    records, (left_out,) = read_project_runs([ApiRun(state=state)])
    assert not records
    assert left_out.reason == f"W&B says that it is {state}"


def test_a_project_needs_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb, "login", lambda **_: False)
    with pytest.raises(NoRunsFound, match=r"there is no such file or folder.*run `wandb login` first"):
        read_project("someone/earmark")


def test_a_project_is_read_for_who_is_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Api:
        def runs(self, path: str) -> list[ApiRun]:
            asked.append(path)
            return [ApiRun()] if path == "someone/earmark" else []

    monkeypatch.setattr(wandb, "login", lambda **_: True)
    monkeypatch.setattr(wandb, "Api", Api)
    assert len(read_project("someone/earmark")[0]) == 1
    with pytest.raises(NoRunsFound, match="it is empty"):
        read_project("someone/other")
    assert asked == ["someone/earmark", "someone/other"]


def test_only_two_names_are_a_project() -> None:
    assert is_project("entity/my-project.2")
    assert not any(is_project(name) for name in ("runs", "runs/dqn/*", "/runs/dqn", "a/b/c", "runs/"))
