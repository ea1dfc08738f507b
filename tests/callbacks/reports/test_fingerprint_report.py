from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from callbacks import FingerprintReport
from callbacks.reports.fingerprint_report import draw_hits
from callbacks.reports.query_scores import read_query_scores
from retrieval.metrics import hits_by_condition
from retrieval.outputs import FingerprintedSegments, FingerprintOutputs
from tests.trainers import quiet_trainer


class Model(pl.LightningModule):
    method_name = "Encoder"

    def __init__(self, outputs: FingerprintOutputs | None) -> None:
        super().__init__()
        self.fingerprint_outputs = outputs


def make_outputs() -> FingerprintOutputs:
    """Four queries of two conditions, three of them localised, one whose passage repeats."""
    places = torch.arange(4)
    segments = FingerprintedSegments(places, places, places.double(), torch.eye(4))
    localised = torch.tensor([True, False, True, True])
    track = torch.tensor([True, True, True, True])
    condition, repeated = torch.tensor([0, 0, 1, 1]), torch.tensor([False, True, False, False])
    hits = hits_by_condition(localised, track, condition, repeated, ["noise 0 dB", "noise 20 dB", "reverb"])
    return FingerprintOutputs(segments, segments, condition, repeated, places, localised, track, hits)


def run(outputs: FingerprintOutputs | None, folder: Path) -> None:
    trainer = quiet_trainer(default_root_dir=folder)
    trainer.datamodule = SimpleNamespace(data_name="made up")  # type: ignore[attr-defined]
    FingerprintReport().on_test_end(trainer, Model(outputs))


def test_shares_are_written_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(make_outputs(), tmp_path)
    header, *lines = (tmp_path / "report" / "hits.csv").read_text().splitlines()
    rows = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]
    assert [row["localised_share"] for row in rows] == ["0.5", "1.0", ""]
    assert [row["localised_unrepeated_share"] for row in rows] == ["1.0", "1.0", ""]
    assert [row["track_num_queries"] for row in rows] == ["2", "2", ""]
    assert float(rows[0]["localised_low"]) < 0.5 < float(rows[0]["localised_high"])
    assert (tmp_path / "report" / "hits.png").stat().st_size > 0
    scores = read_query_scores(tmp_path / "report")
    assert list(scores["top1"]) == ["0, noise 0 dB", "1, noise 0 dB", "2, noise 20 dB", "3, noise 20 dB"]
    assert list(scores["top1"].values()) == [1, 0, 1, 1]
    assert list(scores["track"].values()) == [1, 1, 1, 1]
    printed = capsys.readouterr().out
    assert "50.0" in printed
    assert "noise 20 dB" in printed


def test_bars_are_shares_in_percent() -> None:
    (axes,) = draw_hits(make_outputs().hits, "title").axes
    heights = [round(bar.get_height()) for container in axes.containers for bar in getattr(container, "patches", [])]
    assert heights == [50, 100, 100, 100]  # a condition without queries has no bar


def test_a_test_that_left_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="left no fingerprint_outputs"):
        run(None, tmp_path)
