"""A run is never lost because W&B can't be reached, and never sent where the user doesn't want it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import wandb
from jsonargparse import Namespace

from experiments.command.placement import place_wandb_runs
from experiments.command.wandb_mode import wandb_mode

NOBODY = "http://127.0.0.1:9"  # the discard service; nobody listens


class Refusing(BaseHTTPRequestHandler):
    """Answers, if only that there is nothing."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *arguments: object) -> None:
        """Stay silent."""


@pytest.fixture
def server() -> Iterator[str]:
    made = HTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(wandb, "login", lambda **options: True)


@pytest.mark.parametrize("chosen", [None, "online"])
def test_a_run_that_cannot_be_sent_is_kept_and_the_user_told(
    chosen: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", NOBODY)
    if chosen is not None:
        monkeypatch.setenv("WANDB_MODE", chosen)
    arguments = Namespace(save_dir=".", job_type=None)  # type: ignore[no-untyped-call]
    logger = Namespace(class_path="pytorch_lightning.loggers.WandbLogger", init_args=arguments)  # type: ignore[no-untyped-call]
    trainer = Namespace(default_root_dir=str(tmp_path / "run"), logger=logger)  # type: ignore[no-untyped-call]
    place_wandb_runs(Namespace(trainer=trainer), "fit")  # type: ignore[no-untyped-call]
    assert arguments.mode == "offline"
    assert arguments.save_dir == str(tmp_path / "run")
    assert f"Expected W&B at {NOBODY}, it can't be reached" in caplog.text
    assert "`wandb sync`" in caplog.text


def test_a_server_that_answers_gets_the_run(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", server)
    assert wandb_mode() is None


@pytest.mark.parametrize("chosen", ["offline", "disabled"])
def test_what_the_user_chose_is_left(chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", NOBODY)
    monkeypatch.setenv("WANDB_MODE", chosen)
    assert wandb_mode() is None


def test_who_is_not_logged_in_is_offline_without_a_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wandb, "login", lambda **options: False)
    assert wandb_mode() == "offline"
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"])
def test_only_the_first_process_asks(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", NOBODY)
    monkeypatch.setenv(name, "1")
    assert wandb_mode() is None
    assert caplog.text == ""
