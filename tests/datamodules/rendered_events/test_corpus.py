"""The rendered corpus is the same wherever it is rendered, and is laid out and balanced as ESC-50."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from datamodules import RenderedEvents
from datamodules.esc50 import SUPERCLASSES
from datamodules.rendered_events import corpus
from datamodules.rendered_events.corpus import CLIP_SECONDS, SAMPLE_RATE_HZ, render_corpus
from datamodules.rendered_events.synthesis import EVENTS, render_event
from storage.errors import FileNotWritten
from tests.datamodules.makers import corpus_at, read_rows, set_up
from tests.faults import limited_file_size

CLIPS_PER_CLASS = 10


def _data(root: Path, **options: object) -> RenderedEvents:
    return corpus_at(RenderedEvents, root, root / "cache", **{"clips_per_class": CLIPS_PER_CLASS} | options)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RenderedEvents:
    return set_up(_data(tmp_path_factory.mktemp("rendered"), labels_per_class=2))


def test_two_renderings_are_equal_to_the_byte(data: RenderedEvents, tmp_path: Path) -> None:
    np.random.seed(99)  # the global generator must not matter
    render_corpus(tmp_path / "again", CLIPS_PER_CLASS, data.render_seed)
    names = sorted(path.relative_to(data.folder) for path in data.folder.rglob("*") if path.is_file())
    assert len(names) == len(EVENTS) * CLIPS_PER_CLASS + 1
    assert names == sorted(
        path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*") if path.is_file()
    )
    assert all((data.folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in names)


def test_superclasses_are_those_of_esc50(data: RenderedEvents) -> None:
    targets = {event.name: event.target for event in EVENTS}
    assert data.superclass_of is not None
    assert data.superclass_of.tolist() == [targets[name] // 10 for name in data.class_names]
    assert data.superclass_names == list(SUPERCLASSES)


def test_classes_are_those_of_esc50_under_their_own_targets(data: RenderedEvents) -> None:
    assert data.num_classes == 10
    assert data.class_names == [event.name for event in sorted(EVENTS, key=lambda event: event.target)]
    assert Counter(item.label for item in data.items) == dict.fromkeys(range(10), CLIPS_PER_CLASS)
    assert data.data_name == "rendered events"


def test_folds_are_balanced_and_hold_whole_recordings(data: RenderedEvents) -> None:
    per_fold = Counter((item.subset, item.label) for item in data.items)
    assert per_fold == {(str(fold), label): 2 for fold in range(1, 6) for label in range(10)}
    folds_of: dict[str, set[str]] = {}
    for item in data.items:
        folds_of.setdefault(item.recording, set()).add(item.subset)
    assert len(folds_of) == 50
    assert all(len(folds) == 1 for folds in folds_of.values())


def test_names_say_what_the_table_says(data: RenderedEvents) -> None:
    rows = read_rows(data.folder / "meta" / "esc50.csv")
    for row in rows:
        assert row["filename"] == f"{row['fold']}-{row['src_file']}-{row['take']}-{row['target']}.wav"
    assert Counter(row["take"] for row in rows) == {"A": 50, "B": 50}
    assert {row["category"] for row in rows if row["esc10"] == "True"} == {"dog", "rain", "clock_tick"}


def test_clips_are_full_length_audible_and_all_different(data: RenderedEvents) -> None:
    waveforms = []
    for item in data.items:
        waveform, sample_rate_hz = soundfile.read(item.path, dtype="float32")
        assert sample_rate_hz == SAMPLE_RATE_HZ
        assert waveform.shape == (round(CLIP_SECONDS * SAMPLE_RATE_HZ),)
        assert 0.05 < abs(waveform).max() <= 0.9 + 1e-4
        waveforms.append(waveform / np.linalg.norm(waveform))
    stacked = np.stack(waveforms)
    similarity = abs(stacked @ stacked.T) - np.eye(len(stacked))
    # Takes of a recording share a harmonic source at most in part; a clip written twice would give 1.
    assert similarity.max() < 0.99


def test_another_seed_is_another_corpus_in_another_folder(data: RenderedEvents) -> None:
    other = _data(data.folder.parent, render_seed=1)
    assert other.folder != data.folder
    first, second = (render_event(EVENTS[0], SAMPLE_RATE_HZ, 1.0, (seed, 0, 0), 0) for seed in (0, 1))
    assert abs(first - second).max() > 0.01


def test_rendered_once(data: RenderedEvents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(corpus, "render_corpus")
    again = _data(data.folder.parent, labels_per_class=2)
    again.prepare_data()
    assert [item.name for item in again.items] == [item.name for item in data.items]
    assert not list(data.folder.parent.glob(".*new-*"))


def test_a_killed_rendering_leaves_no_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus, "render_event", fail)
    interrupted = _data(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        interrupted.prepare_data()
    assert not interrupted.folder.exists()


def test_a_full_disk_leaves_no_half_corpus(tmp_path: Path) -> None:
    with limited_file_size(100_000), pytest.raises(FileNotWritten, match="corpus: expected to write it whole, found"):
        render_corpus(tmp_path / "corpus", 10, 0)
    assert list(tmp_path.iterdir()) == []
