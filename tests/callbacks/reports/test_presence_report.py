"""A tiny Siamese network, tested on made-up clips by a real trainer: its report's tables, figures and sound."""

import csv
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import soundfile
import torch
from matplotlib.image import imread
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader

from callbacks import PresenceReport
from callbacks.reports.presence_baselines import COSINE_NAME, RANDOM_NAME
from callbacks.reports.presence_tables import level_rows, level_table
from callbacks.reports.query_scores import read_query_scores
from callbacks.reports.sample_pairs import FARTHEST, NEAREST, choose_pairs, name_labels
from datamodules.batches.feature_dataset import FeatureDataset, pass_batch
from lightning_modules import Siamese
from lightning_modules.networks import ConcatenatedPairs
from retrieval.metrics import LevelScoring
from retrieval.outputs import PresenceOutputs
from tests.callbacks.makers import Clip
from tests.callbacks.reports.recording_logger import RecordingLogger
from tests.lightning_modules.makers import given_features
from tests.trainers import quiet_trainer

RATE_HZ, NUM_FRAMES, FEATURE_DIM = 8000, 5, 6
NUM_QUERIES, NUM_CLIPS = 10, 34
CATEGORIES = ("engine", "music", "human-voice", "dog")
CUTOFFS = [1, 5, 10]
PICTURES = ["attention.png", "level.png", "map_curves.png", "presence_matrices.png"]
TABLES = ["first_stage.csv", "presence_accuracy.csv", "queries.csv", "results.csv", "results.json"]


class Clips(pl.LightningDataModule):
    """Noise with one to three labels, or none; the first ten are queries."""

    data_name = "made up"
    class_names = CATEGORIES

    def __init__(self, folder: Path, most_labels: int = 4) -> None:
        super().__init__()
        generator = np.random.default_rng(0)
        self.label = (generator.random((NUM_CLIPS, len(CATEGORIES))) < 0.4).astype(np.int64)
        if most_labels == 1:
            self.label = np.eye(len(CATEGORIES), dtype=np.int64)[np.arange(NUM_CLIPS) % len(CATEGORIES)]
        # the last frames of every third clip are padding
        self.num_frames = np.where(np.arange(NUM_CLIPS) % 3 == 0, NUM_FRAMES - 2, NUM_FRAMES)
        feature = generator.standard_normal((NUM_CLIPS, NUM_FRAMES, FEATURE_DIM)).astype(np.float32)
        self.feature = feature * (np.arange(NUM_FRAMES) < self.num_frames[:, None])[..., None]
        self.items = [Clip(f"audio/clip {number}.wav", folder / f"{number}.wav") for number in range(NUM_CLIPS)]

    def write_audio(self) -> None:
        for number, item in enumerate(self.items):
            time = np.arange(RATE_HZ // 2) / RATE_HZ
            soundfile.write(item.path, 0.3 * np.sin(2 * np.pi * 100 * (number + 1) * time), RATE_HZ)

    def role_dataset(self, role: str) -> FeatureDataset:
        indices = np.arange(NUM_QUERIES) if role == "query" else np.arange(NUM_QUERIES, NUM_CLIPS)
        fields = {"num_frames": self.num_frames, "soft_label": self.label.astype(np.float32)}
        return FeatureDataset(self.feature, self.label, indices, fields)

    def test_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        return [
            DataLoader(self.role_dataset(role), batch_size=8, collate_fn=pass_batch)  # type: ignore[arg-type]
            for role in ("query", "database")
        ]


def make_siamese(num_candidates: int | None = None, measures_swap: bool = True) -> Siamese:
    torch.manual_seed(0)
    return Siamese(
        given_features(FEATURE_DIM),
        len(CATEGORIES),
        partial(ConcatenatedPairs, branch_dims=(8,), hidden_dims=(8,)),
        optimizer=partial(torch.optim.SGD, lr=0.1),
        lr_scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
        num_candidates=num_candidates,
        measures_swap=measures_swap,
        scoring=LevelScoring(cutoffs=CUTOFFS),
    )


def run_test(
    folder: Path, model: Siamese, data: Clips, loggers: Sequence[RecordingLogger] = (), **options: int
) -> PresenceOutputs:
    """Test a model, and return what it left for the report."""
    trainer = quiet_trainer(PresenceReport(**{"num_pairs": 1} | options), default_root_dir=folder)
    trainer.loggers = list(loggers)
    trainer.test(model, datamodule=data, verbose=False)
    assert model.presence_outputs is not None
    return model.presence_outputs


def read_table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "report" / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Run:
    folder: Path
    data: Clips
    model: Siamese
    outputs: PresenceOutputs
    logger: RecordingLogger

    def read(self, name: str) -> list[dict[str, str]]:
        return read_table(self.folder, name)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Test with the report once; what only looks at files and logs shares them."""
    folder = tmp_path_factory.mktemp("run")
    data, model, logger = Clips(folder), make_siamese(), RecordingLogger()
    data.write_audio()
    outputs = run_test(folder, model, data, [logger], num_pairs=2, num_retrieved=2, num_queries_shown=3)
    return Run(folder, data, model, outputs, logger)


def test_tables_and_pictures_are_written(run: Run) -> None:
    assert sorted(path.name for path in (run.folder / "report").iterdir()) == sorted(TABLES + PICTURES)
    for name in PICTURES:
        height, width = imread(run.folder / "report" / name).shape[:2]
        assert 250 < height < 2500, name
        assert 600 < width < 2500, name


def test_scores_of_queries_have_the_logged_means(run: Run) -> None:
    scores = read_query_scores(run.folder / "report")
    means = {f"mAP_{s}@{k}": value for (s, k), value in run.outputs.scores.mean_ap().items()}
    assert set(scores) == set(means)
    for name, own in scores.items():
        assert len(own) == NUM_QUERIES
        assert sum(own.values()) / len(own) == pytest.approx(means[name], abs=1e-6)


def test_results_have_a_row_for_each_method_subset_threshold_and_cutoff(run: Run) -> None:
    rows = run.read("results.csv")
    keys = [(row["method"], row["subset"], int(row["s"]), int(row["k"])) for row in rows]
    methods = ("ConcatenatedPairs", COSINE_NAME, RANDOM_NAME)
    assert len(keys) == len(set(keys)) == 3 * 3 * 2 * 3
    assert {key[0] for key in keys} == set(methods)
    label_count = run.data.label[:NUM_QUERIES].sum(axis=1)
    sizes = {"all": NUM_QUERIES, "single": (label_count == 1).sum(), "multi": (label_count > 1).sum()}
    for row, (method, subset, s, k) in zip(rows, keys, strict=True):
        mean = float(row["mean"])
        if method == methods[0]:
            assert mean == pytest.approx(run.outputs.scores.mean_ap(subset)[s, k])
        assert float(row["low"]) <= mean <= float(row["high"])
        assert int(row["num_queries"]) == sizes[subset]
        assert row["data_name"] == "made up"
    same = json.loads((run.folder / "report" / "results.json").read_text(encoding="utf-8"))
    assert [{name: str(value) for name, value in row.items()} for row in same] == rows


def test_accuracy_is_written_beside_the_same_answer_for_all(run: Run) -> None:
    rows = run.read("presence_accuracy.csv")
    assert [row["category"] for row in rows] == list(CATEGORIES)
    accuracies = [float(row["accuracy"]) for row in rows]
    assert accuracies == pytest.approx(run.outputs.situation_accuracy.tolist())
    assert all(1 / 3 <= float(row["commonest_situation"]) <= 1 for row in rows)


def test_a_first_stage_that_compares_all_is_the_full_result(run: Run) -> None:
    rows = run.read("first_stage.csv")
    assert [float(row["share"]) for row in rows] == [0, 0.05, 0.1, 0.25, 0.5, 1]
    assert [int(row["num_compared"]) for row in rows] == [0, 2, 3, 6, 12, 24]
    assert [name for name in rows[0] if name.startswith("mAP")] == ["mAP_4@10", "mAP_4@100", "mAP_3@10", "mAP_3@100"]
    for s in (4, 3):
        assert float(rows[-1][f"mAP_{s}@10"]) == pytest.approx(run.outputs.scores.mean_ap()[s, 10])


def test_everything_goes_to_wandb(run: Run) -> None:
    tables = {"report/results", "report/presence_accuracy", "report/first_stage", "report/heard"}
    pictures = {f"report/{Path(name).stem}" for name in PICTURES}
    assert set(run.logger.logged) == tables | pictures | {"report/audio", "report/pairs_per_second"}
    assert run.logger.configured == {"data_name": "made up"}
    assert len(run.logger.logged["report/results"].data) == 54
    heard = run.logger.logged["report/heard"]
    of_item = ("labels", "true level", "predicted level", "audio")
    assert heard.columns == ["query", "labels", "audio", *(f"{name} {rank}" for rank in (1, 2) for name in of_item)]
    captions = [audio._caption for audio in run.logger.logged["report/audio"]]
    assert len(captions) == 3 * (1 + 2)
    names = {item.name: number for number, item in enumerate(run.data.items)}
    for line, row in enumerate(heard.data):
        query = names[row[0]]
        labels = name_labels(torch.from_numpy(run.data.label[query]), CATEGORIES)
        assert row[1] == labels
        assert captions[3 * line] == f"query: {labels}"
        first = int(run.outputs.distances[query].argsort(stable=True)[0])
        found = NUM_QUERIES + first
        assert row[3] == name_labels(torch.from_numpy(run.data.label[found]), CATEGORIES)
        assert row[4] == (run.data.label[query] == run.data.label[found]).sum()
        assert row[5] == pytest.approx(float(run.outputs.level[query].max()))


def test_a_report_is_repeatable_and_leaves_the_model_as_it_was(run: Run, tmp_path: Path) -> None:
    trainer = quiet_trainer(default_root_dir=tmp_path)
    trainer.datamodule = run.data  # type: ignore[attr-defined]
    run.model.train()
    run.model.network.eval()
    modes = {name: part.training for name, part in run.model.named_modules()}
    statistics = {name: buffer.clone() for name, buffer in run.model.named_buffers()}
    state = torch.get_rng_state()
    PresenceReport(num_pairs=2).on_test_end(trainer, run.model)
    assert {name: part.training for name, part in run.model.named_modules()} == modes
    for name, buffer in run.model.named_buffers():
        assert torch.equal(buffer, statistics[name]), name
    assert torch.equal(torch.get_rng_state(), state)
    for name in TABLES:
        assert (tmp_path / "report" / name).read_bytes() == (run.folder / "report" / name).read_bytes()
    for name in PICTURES:
        np.testing.assert_array_equal(imread(tmp_path / "report" / name), imread(run.folder / "report" / name))


def test_speed_and_swap_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="callbacks.reports.presence_report"):
        outputs = run_test(tmp_path, make_siamese(), Clips(tmp_path), num_queries_shown=0)
    assert outputs.swapped_level is not None
    change = float((outputs.level - outputs.swapped_level).abs().mean())
    assert f"Compared {outputs.pairs_per_second:.0f} pairs/s" in caplog.text
    assert f"changes its level by {change:.3g} on average: mAP_4@10" in caplog.text
    # and without audio there is neither sound nor spectrogram, but a word
    assert "No attention.png: there is no file" in caplog.text
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == sorted(TABLES + PICTURES[1:])


def test_a_model_with_a_first_stage_is_not_given_another(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = Clips(tmp_path, most_labels=1)
    logger = RecordingLogger()
    with caplog.at_level(logging.INFO, logger="callbacks.reports.presence_report"):
        run_test(tmp_path, make_siamese(num_candidates=3, measures_swap=False), data, [logger])
    assert "Swapping" not in caplog.text  # it was not measured
    assert "No clips to listen to: there is no file" in caplog.text
    assert "report/first_stage" not in logger.logged
    assert "report/heard" not in logger.logged
    assert not (tmp_path / "report" / "first_stage.csv").exists()
    # nobody asked with several labels
    assert {row["subset"] for row in read_table(tmp_path, "results.csv")} == {"all", "single"}


def test_sample_pairs_are_the_first_retrieved_and_the_least_alike(run: Run) -> None:
    rows, columns, choices = choose_pairs(run.outputs, 5)
    assert choices == [NEAREST, FARTHEST, NEAREST, FARTHEST, NEAREST]
    assert rows[0] == rows[1] != rows[2] == rows[3] != rows[4]
    assert len(set(run.data.label[[rows[0], rows[2], rows[4]]].sum(axis=1))) == 3
    for row, column, choice in zip(rows, columns, choices, strict=True):
        level = run.outputs.level[row]
        assert float(level[column]) == float(level.max() if choice == NEAREST else level.min())


def test_tables_fit_a_terminal(run: Run) -> None:
    rows = level_rows({"ConcatenatedPairs": run.outputs.scores}, "SONYC-UST")
    console = Console(width=80, record=True)
    console.print(level_table(rows, 4, 4), level_table(rows, 3, 4))
    text = console.export_text()
    for title in ("mAP_4@K in %; hits agree in 4 of 4 categories queries", "hits agree in 3 of 4 categories or more"):
        assert title in " ".join(text.split())  # which wraps
    assert f"all, {NUM_QUERIES}" in text
    (line, _) = [line for line in text.splitlines() if "ConcatenatedPairs" in line][::3]
    mean = run.outputs.scores.mean_ap()
    assert line.split()[1:4] == [f"{100 * mean[4, k]:.1f}" for k in CUTOFFS]
    interval = run.outputs.scores.interval(4, 10)
    assert line.split()[4] == f"{100 * interval.low:.1f}-{100 * interval.high:.1f}"


def test_a_test_that_left_nothing_is_an_error(tmp_path: Path) -> None:
    trainer = quiet_trainer(default_root_dir=tmp_path)
    trainer.datamodule = Clips(tmp_path)  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="left no presence_outputs"):
        PresenceReport().on_test_end(trainer, make_siamese())


@pytest.mark.parametrize("wrong", [{"num_pairs": 0}, {"num_retrieved": 0}, {"num_queries_shown": -1}])
def test_nothing_to_show_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="of at least 1"):
        PresenceReport(**wrong)
