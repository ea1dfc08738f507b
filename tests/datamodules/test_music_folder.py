"""Any folder is music: a hash of the path, or a file, says which of it is trained on."""

from pathlib import Path

import pytest
import soundfile

from datamodules import MusicFolder
from datamodules.errors import DatasetLayoutError, DatasetMissing
from datamodules.splits.track_roles import path_share
from tests.replicas.fma import make_music

NAMES = [
    f"band {band}/album/{track:02d} größe{suffix}"
    for band in range(4)
    for track, suffix in enumerate((".wav", ".FLAC"))
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "my music"
    for seed, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, make_music(0.1, 16_000, seed), 16_000)
    (folder / "cover.jpg").touch()
    return folder


def _trained(data: MusicFolder) -> set[str]:
    return {track.name for track in data.tracks if track.is_trained}


def test_folders_of_any_depth_are_read(root: Path) -> None:
    data = MusicFolder(root=str(root))
    assert data.track_names == sorted(NAMES)
    assert data.data_name == "my music"
    assert all(track.is_indexed for track in data.tracks)
    assert {name for name in NAMES if path_share(name) < 0.5} == _trained(data)
    assert 0 < len(_trained(data)) < len(NAMES)


def test_a_track_stays_on_its_side_when_others_come(root: Path) -> None:
    before = _trained(MusicFolder(root=str(root)))
    for number in range(20):
        soundfile.write(root / f"{number}.wav", make_music(0.1, 16_000, number), 16_000)
    after = _trained(MusicFolder(root=str(root)))
    assert before == after & set(NAMES)
    assert after < _trained(MusicFolder(root=str(root), train_share=0.9))


def test_hash_is_even() -> None:
    shares = [path_share(f"{number}.mp3") for number in range(2_000)]
    assert 0.47 < sum(share < 0.5 for share in shares) / 2_000 < 0.53
    assert 0 <= min(shares) < max(shares) < 1


def test_split_file_decides_and_leaves_out(root: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.csv"
    split.write_text(f"filename,split\n{NAMES[3]},train\n{NAMES[0]},test\n", encoding="utf-8")
    data = MusicFolder(root=str(root), split_file=str(split))
    assert data.track_names == sorted([NAMES[0], NAMES[3]])
    assert _trained(data) == {NAMES[3]}


@pytest.mark.parametrize("line", [f"{NAMES[0]},train", f"{NAMES[1]},validation"])
def test_split_file_must_be_unambiguous(root: Path, tmp_path: Path, line: str) -> None:
    split = tmp_path / "split.csv"
    split.write_text(f"filename,split\n{NAMES[0]},test\n{line}\n", encoding="utf-8")
    with pytest.raises(DatasetLayoutError, match="line 3"):
        _ = MusicFolder(root=str(root), split_file=str(split)).tracks


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing, match=r"nowhere.*--data\.root"):
        _ = MusicFolder(root=str(tmp_path / "nowhere")).tracks
    split = tmp_path / "split.csv"
    split.write_text("filename,split\ngone.mp3,train\n", encoding="utf-8")
    with pytest.raises(DatasetMissing, match=r"1 files.*gone\.mp3"):
        _ = MusicFolder(root=str(root), split_file=str(split)).tracks
