"""Tracks and sounds behind one `Searcher`."""

import json
from pathlib import Path

import pytest
import soundfile
import torch

from retrieval.codes import ProductQuantizer
from retrieval.index import AsymmetricIndex, num_bits_of
from retrieval.metrics import bucket_entropy
from search_tool.files import INDEX, SoundDescription, write_description
from search_tool.info import describe_sounds, describe_tracks
from search_tool.model_records import SearchError, record_of
from search_tool.new_files import find_sources
from search_tool.options import IndexOptions
from search_tool.searcher import Searcher, create_searcher, open_searcher
from search_tool.sound_search import SoundSearch
from search_tool.sources import append_sources
from search_tool.track_search import TrackSearch
from tests.replicas.fma import make_music

NOTHING = IndexOptions()


@pytest.fixture
def music(tmp_path: Path) -> Path:
    (tmp_path / "music").mkdir()
    for seed in range(3):
        soundfile.write(tmp_path / "music" / f"{seed}.wav", 0.7 * make_music(3.0, 16_000, seed), 16_000)
    return tmp_path / "music"


@pytest.fixture
def tracks(music: Path, tmp_path: Path) -> Searcher:
    sources = find_sources([str(music)])
    searcher = create_searcher(tmp_path / "tracks", IndexOptions(num_bits=3), sources)
    searcher.add(sources)
    return searcher


@pytest.fixture
def sounds(music: Path, tmp_path: Path) -> Path:
    """Return an index of sounds whose model is never looked into."""
    folder, checkpoint = tmp_path / "sounds", tmp_path / "model.ckpt"
    checkpoint.write_text("weights")
    coder = ProductQuantizer(8, 8, num_codewords=16)
    coder.fit(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)))
    index = AsymmetricIndex(coder)
    index.add(torch.zeros(2, 8), torch.tensor([0, 2]))
    index.save(folder / INDEX)
    append_sources(folder, find_sources([str(music)]))
    write_description(folder, SoundDescription(record_of(str(checkpoint)), "AudioDqn"))
    return folder


def test_a_folder_is_opened_as_what_it_is(tracks: Searcher, sounds: Path, tmp_path: Path) -> None:
    assert isinstance(tracks, TrackSearch)
    assert isinstance(open_searcher(tmp_path / "tracks", NOTHING), TrackSearch)
    opened = open_searcher(sounds, NOTHING)
    assert isinstance(opened, SoundSearch)
    assert opened.live_names == ["0.wav", "2.wav"]
    with pytest.raises(SearchError, match=r"--model is not for it\. Use --fingerprinter, --hash"):
        open_searcher(tmp_path / "tracks", IndexOptions(model="dqn.ckpt"))
    with pytest.raises(SearchError, match=r"one of clips; --probes is not for it\. Use --model"):
        open_searcher(sounds, IndexOptions(probes=3))
    with pytest.raises(SearchError, match="--storage is not for it"):
        create_searcher(tmp_path / "new", IndexOptions(model="dqn.ckpt", storage="float32"), [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "smells"}, "found version 1 of one of smells. Update the project"),
        ({"version": 2}, "found version 2 of one of tracks. Update the project"),
        ({"version": None}, "found something else"),
        ({"num_probes": "many"}, "damaged or of an earlier layout"),
    ],
)
def test_a_description_that_is_not_understood_is_refused(
    tracks: Searcher, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = tmp_path / "tracks" / "search.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(SearchError, match=message):
        open_searcher(tmp_path / "tracks", NOTHING)


def test_an_index_of_an_earlier_layout_gets_one_line(sounds: Path) -> None:
    (sounds / "search.json").write_text(json.dumps({"version": 1, "kind": "clips", "model_file": {}}))
    for look in (open_searcher, describe_sounds):
        with pytest.raises(SearchError, match=r"of an earlier layout .* Index again in another folder\."):
            look(sounds, NOTHING)


def test_info_says_what_the_open_index_holds(tracks: Searcher, tmp_path: Path) -> None:
    assert isinstance(tracks, TrackSearch)
    tracks.remove(["1.wav"])
    tracks.compact()
    description, names = describe_tracks(tmp_path / "tracks", NOTHING)
    assert names == tracks.live_names == ["0.wav", "2.wav"]
    assert description["fingerprints"] == tracks.num_live_items == len(tracks.index)
    assert description["bits"] == num_bits_of(tracks.index.projection, tracks.index.settings.dim) == 3
    assert description["calibration"] is None
    (shard,) = tracks.index._snapshot.shards
    sizes = torch.from_numpy(shard.table.buckets.starts).diff()
    assert description["bucket_entropy_bits"] == pytest.approx(bucket_entropy(sizes), abs=1e-12)


def test_info_of_sounds_needs_no_model(sounds: Path) -> None:
    description, names = describe_sounds(sounds, NOTHING)
    assert names == ["0.wav", "2.wav"]
    expected = {
        "kind": "clips", "clips": 2, "model_class": "AudioDqn", "code": "ProductQuantizer", "bits": 8, "dimensions": 8,
        "search": "AsymmetricIndex",
    }  # fmt: skip
    assert expected.items() <= description.items()


def test_sounds_have_nothing_to_compact_or_calibrate(sounds: Path) -> None:
    opened = open_searcher(sounds, NOTHING)
    with pytest.raises(SearchError, match="always compact"):
        opened.compact()
    opened.calibrate(NOTHING)
    assert opened.warnings(None) == []
    opened.verify()
