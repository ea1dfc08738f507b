"""Scores of queries come back as they were written, or it is said that they are damaged."""

from pathlib import Path

import pytest
import torch

from callbacks.reports.query_scores import QueryScoresDamaged, read_query_scores, write_query_scores


def test_scores_come_back_bit_by_bit(tmp_path: Path) -> None:
    values = torch.rand(5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    names = ["dog, barking", 'a "quoted" one', "größe.wav", "", "x\ny"]
    write_query_scores(tmp_path / "report", names, {"mAP": values, "hit@1": (values > 0.5).double()})
    read = read_query_scores(tmp_path / "report")
    assert list(read) == ["mAP", "hit@1"]
    assert read["mAP"] == dict(zip(names, values.tolist(), strict=True))
    assert set(read["hit@1"].values()) == {0.0, 1.0}


def test_a_run_without_them_has_none(tmp_path: Path) -> None:
    assert read_query_scores(tmp_path) == {}


@pytest.mark.parametrize(
    "text", ["query,mAP\na,0.5\nb", "name,mAP\na,0.5\n", "query,mAP\na,high\n", "query,mAP\na,nan\n"],
    ids=["cut off", "other column", "no number", "not finite"],
)  # fmt: skip
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "queries.csv").write_text(text)
    with pytest.raises(QueryScoresDamaged, match=r"queries\.csv: expected .* Test the run again"):
        read_query_scores(tmp_path)
