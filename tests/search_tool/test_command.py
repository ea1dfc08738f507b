"""The command search.py on a folder of rendered music, with fingerprints that need no training."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import search
from search_tool import track_search
from search_tool.sources import Source, read_sources
from tests.replicas.fma import make_music

RATE_HZ = 16_000
NUM_TRACKS, SECONDS = 7, 6.0
DAMAGED, EMPTY, SHORT, NESTED = "damaged.flac", "empty.mp3", "short.wav", "Ålbum [1]/song.ogg"
QUICK = ("--calibrate=25", "--false_alarm_rate=0.05", "--num_bits=6", "--probes=8")


def write_music(path: Path, seed: int, seconds: float = SECONDS, rate_hz: int = RATE_HZ) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, make_music(seconds, rate_hz, seed) * 0.7, rate_hz)


def write_snippet(path: Path, seed: int, start: float, seconds: float = 2.0, snr_db: float = 10.0) -> str:
    music = 0.7 * make_music(SECONDS, RATE_HZ, seed)[round(start * RATE_HZ) :][: round(seconds * RATE_HZ)]
    noise = np.random.default_rng(99).standard_normal(len(music))
    noise *= np.sqrt(np.mean(music**2) / np.mean(noise**2) / 10 ** (snr_db / 10))
    soundfile.write(path, 0.5 * (music + noise), RATE_HZ)
    return str(path)


def query(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    capsys.readouterr()
    status = search.main(["query", *arguments, "--json"])
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def info(capsys: pytest.CaptureFixture[str], index: str) -> dict[str, Any]:
    capsys.readouterr()
    assert search.main(["info", "--index", index, "--json", "--names"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with music and an index of it, which tests only read."""
    folder = tmp_path_factory.mktemp("search")
    for seed in range(NUM_TRACKS - 1):
        write_music(folder / "music" / f"track{seed}.wav", seed)
    write_music(folder / "music" / NESTED, NUM_TRACKS - 1, rate_hz=44_100)
    (folder / "music" / EMPTY).touch()
    whole = folder / "whole.flac"
    write_music(whole, 50)
    (folder / "music" / DAMAGED).write_bytes(whole.read_bytes()[:20_000])
    write_music(folder / "music" / SHORT, 51, seconds=0.4)
    (folder / "music" / "notes.txt").write_text("no audio")
    assert search.main(["index", str(folder / "music"), "--index", str(folder / "index"), *QUICK]) == 0
    return folder


@pytest.fixture
def own(made: Path, tmp_path: Path) -> str:
    """Return a copy of the index, to be changed."""
    shutil.copytree(made / "index", tmp_path / "index")
    return str(tmp_path / "index")


def test_a_noisy_snippet_is_found_where_it_is(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = [write_snippet(tmp_path / f"{seed}.wav", seed, start=1.03 + seed / 3) for seed in range(3)]
    status, answers = query(capsys, *clips, "--index", str(made / "index"))
    assert status == 0
    for seed, answer in enumerate(answers):
        best = answer["matches"][0]
        assert answer["clip"] == clips[seed]
        assert answer["is_match"]
        assert best["track"] == f"track{seed}.wav"
        assert best["track_start_seconds"] == pytest.approx(1.03 + seed / 3, abs=0.1)
        assert best["track_end_seconds"] - best["track_start_seconds"] == pytest.approx(2.0, abs=1e-6)
        assert (best["query_start_seconds"], best["query_end_seconds"]) == pytest.approx((0.0, 2.0))
        assert best["p_value"] == answer["p_value"] <= 0.05


def test_an_absent_clip_has_no_match(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = str(made / "index")
    absent, present = write_snippet(tmp_path / "a.wav", 77, 1.0), write_snippet(tmp_path / "p.wav", 1, 1.0)
    status, answers = query(capsys, absent, present, "--index", index)
    assert status == 3
    assert [answer["is_match"] for answer in answers] == [False, True]
    assert answers[0]["matches"] == []
    assert answers[0]["p_value"] > 0.05
    _, answers = query(capsys, absent, "--index", index, "--all")
    assert answers[0]["matches"]
    assert not any(match["is_match"] for match in answers[0]["matches"])


def test_answers_make_a_table(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = [write_snippet(tmp_path / "a.wav", 77, 1.0), write_snippet(tmp_path / "b.wav", NUM_TRACKS - 1, 2.0)]
    short = str(made / "music" / SHORT)
    assert search.main(["query", *clips, short, "--index", str(made / "index")]) == 1
    shown = capsys.readouterr()
    assert NESTED in shown.out
    assert "0:02.0-0:04.0" in shown.out
    assert "no match" in shown.out
    assert "at least 1 s, found 0.40 s" in shown.err


def test_a_clip_that_cannot_be_read_leaves_the_others(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = [str(tmp_path / "none.wav"), write_snippet(tmp_path / "b.wav", 2, 2.0), str(made / "music" / EMPTY)]
    status, answers = query(capsys, *clips, "--index", str(made / "index"))
    assert status == 1
    assert [answer["is_match"] for answer in answers] == [False, True, False]
    assert "found none" in answers[0]["error"]
    assert "empty" in answers[2]["error"]


def test_info_counts_what_is_there(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = info(capsys, str(made / "index"))
    assert found["tracks"] == NUM_TRACKS
    assert found["fingerprints"] == NUM_TRACKS * 51
    assert found["hours"] == pytest.approx(NUM_TRACKS * SECONDS / 3600)
    assert found["hash"] == "pca_median"
    assert found["bits"] == 6
    assert 4 < found["bucket_entropy_bits"] <= 6
    assert found["calibration"]["false_alarm_rate"] == 0.05
    assert set(found["calibration"]["thresholds"]) == {"1", "11", "21", "41"}
    assert not found["calibration"]["is_stale"]
    assert NESTED in found["names"]
    assert search.main(["info", "--index", str(made / "index")]) == 0
    assert "bucket entropy bits" in capsys.readouterr().out


def test_tracks_are_added_removed_and_freed(own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_music(tmp_path / "new" / "late.wav", 77)
    clip = write_snippet(tmp_path / "a.wav", 77, 1.0)
    assert search.main(["add", str(tmp_path / "new"), "--index", own, "--calibrate=0"]) == 0
    status, answers = query(capsys, clip, "--index", own)
    assert (status, answers[0]["matches"][0]["track"]) == (0, "late.wav")
    assert search.main(["remove", "late.wav", "track0.wav", "--index", own]) == 0
    assert query(capsys, clip, "--index", own)[0] == 3
    removed = info(capsys, own)
    assert (removed["tracks"], removed["removed_tracks"]) == (NUM_TRACKS - 1, 2)
    assert search.main(["compact", "--index", own]) == 0
    compacted = info(capsys, own)
    assert (compacted["tracks"], compacted["removed_tracks"]) == (NUM_TRACKS - 1, 0)
    assert compacted["bytes"] < removed["bytes"]
    assert search.main(["verify", "--index", own]) == 0


def test_a_name_that_is_not_there_is_guessed(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert search.main(["remove", "track0.mp3", "--index", own]) == 1
    assert "Did you mean track0.wav" in capsys.readouterr().err
    assert info(capsys, own)["tracks"] == NUM_TRACKS


def test_indexing_goes_on_where_it_stopped(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    index, command = str(tmp_path / "index"), ["index", str(made / "music"), "--num_bits=6", "--calibrate=0"]
    add = track_search.TrackSearch.add

    def stop_after_three(self: track_search.TrackSearch, sources: list[Source], report: Any) -> object:
        seen: list[Source] = []

        def count(source: Source) -> None:
            seen.append(source)
            if len(seen) == 3:
                raise KeyboardInterrupt
            report(source)

        return add(self, [source for source in sources if source.name.startswith("track")], count)

    with monkeypatch.context() as patch:
        patch.setattr(track_search.TrackSearch, "add", stop_after_three)
        assert search.main([*command, "--index", index]) == 1
    assert "goes on" in capsys.readouterr().err
    assert info(capsys, index)["names"] == ["track0.wav", "track1.wav", "track2.wav"]
    generation = info(capsys, index)["generation"]
    assert search.main([*command, "--index", index]) == 0
    found = info(capsys, index)
    assert sorted(found["names"]) == sorted([NESTED, *(f"track{seed}.wav" for seed in range(NUM_TRACKS - 1))])
    assert found["generation"] == generation + 1
    # nothing is left to do
    assert search.main([*command, "--index", index]) == 0
    assert info(capsys, index)["generation"] == generation + 1


def test_a_changed_file_is_indexed_again(own: str, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = {name: source for name, source in read_sources(Path(own)).items() if name == "track1.wav"}
    path = Path(sources["track1.wav"].path)
    before = path.read_bytes()
    write_music(path, 88)
    try:
        assert search.main(["add", str(made / "music"), "--index", own, "--calibrate=0"]) == 0
        clip = write_snippet(Path(own).parent / "c.wav", 88, 3.0)
        status, answers = query(capsys, clip, "--index", own)
        assert (status, answers[0]["matches"][0]["track"]) == (0, "track1.wav")
        assert info(capsys, own)["tracks"] == NUM_TRACKS
    finally:
        path.write_bytes(before)


def test_two_files_of_one_name_are_not_mixed_up(own: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_music(tmp_path / "other" / "track1.wav", 60)
    assert search.main(["add", str(tmp_path / "other"), "--index", own, "--calibrate=0"]) == 0
    assert "has the same name, track1.wav" in caplog.text


def test_what_cannot_be_read_is_listed(made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    for name in (DAMAGED, EMPTY, SHORT):
        shutil.copy(made / "music" / name, bad)
    write_music(bad / "good.wav", 3)
    index = str(tmp_path / "index")
    assert search.main(["index", str(bad), "--index", index, "--num_bits=6"]) == 0
    assert "1 tracks added, 0 were there already, 3 skipped" in caplog.text
    assert "Not calibrated" in caplog.text
    for name in (DAMAGED, EMPTY, SHORT):
        assert name in caplog.text
    (bad / "good.wav").unlink()
    assert search.main(["index", str(bad), "--index", str(tmp_path / "second"), "--num_bits=6"]) == 1
    assert not (tmp_path / "second" / "search.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["query", "x.wav", "--index", "nowhere"], "Make one with"),
        (["index", "nowhere", "--index", "new"], "Check the path"),
        (["index", ".", "--index", "new"], "found none in"),
        (["index", "music", "--index", "new", "--fingerprinter", "none.ckpt"], "found no file there"),
        (["index", "music", "--index", "new", "--fingerprinter", "music/a.wav"], "found something else"),
        (["index", "music", "--index", "music"], "found something else"),
        (["index", "music", "--index", "new", "--model", "music/a.wav"], "found something else"),
    ],
)
def test_errors_say_what_to_do(
    in_tmp: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    write_music(in_tmp / "music" / "a.wav", 1)
    if arguments[1] == ".":
        (in_tmp / "music" / "a.wav").unlink()
    assert search.main(arguments) == 1
    assert message in capsys.readouterr().err


def test_options_of_an_index_stay(own: str, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search.main(["index", str(made / "music"), "--index", own, "--num_bits=8"]) == 1
    assert "built with --num_bits 6; got 8" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--num_bits=25", "--calibrate=-1", "--false_alarm_rate=1", "--hop_seconds=0"])
def test_wrong_options_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        search.main(["index", "music", "--index", "x", option])
    assert "expected" in capsys.readouterr().err
