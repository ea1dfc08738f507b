"""Tables as text: every figure in its place, every mark explained."""

import csv
import dataclasses
import io

from experiments.grids.summary import Row, Verdict
from experiments.papers.jati2020.published import PublishedTable
from experiments.papers.jati2020.tables import TableText, bits_table, cutoffs_table, fractions_table

PUBLISHED = PublishedTable(
    "Table 0", "10 % of a_corpus", [8, 16], {"tlweak": {"pq": [20.0, None]}, "vggish": {"pq": [10.0, 30.0]}}
)
TEXT = TableText("table0", {"pq": "PQ", "dqn": "audio DQN"}, {"pq": "pq", "dqn": None}, PUBLISHED, "made up", "dqn")


def row(
    method: str,
    num_bits: int,
    mean_ap: float,
    verdict: Verdict | None = None,
    embedding: str = "yamnet",
    share: float | None = None,
    num_runs: int = 15,
) -> Row:
    map_at = {1: mean_ap / 2, 10: mean_ap / 4, 77: mean_ap}
    return Row(
        method, embedding, num_bits, share, mean_ap, 0.012, 0.1, 0.3, 5, 3, num_runs, map_at, 0.01, verdict
    )  # fmt: skip


def lines_of(rows: list[Row]) -> list[str]:
    return bits_table(rows, TEXT).text("github").splitlines()


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_ours_and_theirs_stand_below_each_other() -> None:
    lines = lines_of([row("pq", 8, 0.25, "worse"), row("pq", 16, 0.25, "better"), row("dqn", 16, 0.5)])
    assert cells_of(lines[0]) == ["mAP in %", "embedding", "8 bits", "16 bits"]
    assert cells_of(lines[2]) == ["PQ", "YAMNet", "25.0 ± 1.2 *", "25.0 ± 1.2 + !"]
    assert cells_of(lines[3]) == ["the paper's", "TLWeak", "20.0", ""]
    assert cells_of(lines[4]) == ["the paper's", "VGGish", "10.0", "30.0"]
    assert cells_of(lines[5]) == ["audio DQN", "YAMNet", "", "50.0 ± 1.2"]
    notes = "\n".join(lines[6:])
    for part in ("made up", "5 x 3", "`*` worse than audio DQN", "`+` better than audio DQN", "`!` ours is below"):
        assert part in notes, part
    assert "Incomplete" not in notes


def test_marks_that_don_t_occur_are_not_explained() -> None:
    notes = "\n".join(lines_of([row("pq", 8, 0.25, "alike")])[4:])
    assert not any(mark in notes for mark in ("`*`", "`+`", "`!`"))


def test_the_same_embedding_is_held_to_its_own_figure() -> None:
    lines = lines_of([row("pq", 8, 0.15, embedding="vggish")])
    assert cells_of(lines[2])[2] == "15.0 ± 1.2"  # above VGGish's 10, below TLWeak's 20
    assert not any(line.startswith("`!`") for line in lines)


def test_what_is_missing_is_said() -> None:
    text = bits_table([row("pq", 8, 0.25, num_runs=7)], dataclasses.replace(TEXT, num_missing=8)).text("github")
    assert "25.0 ± 1.2 (7 runs)" in text
    assert "Incomplete: 8 runs are missing." in text


def test_latex_is_a_tabular_with_nothing_left_to_swallow_a_line() -> None:
    text = bits_table([row("pq", 8, 0.25, "worse")], TEXT).text("latex_booktabs")
    assert "\\begin{tabular}" in text
    assert "\\toprule" in text
    assert "10 \\% of a\\_corpus" in text


def test_shares_are_columns_of_a_figure_over_shares() -> None:
    rows = [row("dqn", 8, 0.2, share=0.1), row("dqn", 8, 0.4, share=0.5), row("pq", 8, 0.3, share=0.5)]
    lines = fractions_table(rows, TEXT).text("github").splitlines()
    assert cells_of(lines[0]) == ["mAP in %", "embedding", "bits", "10 % labelled", "50 % labelled"]
    assert cells_of(lines[2]) == ["audio DQN", "YAMNet", "8", "20.0 ± 1.2", "40.0 ± 1.2"]
    assert cells_of(lines[3]) == ["PQ", "YAMNet", "8", "", "30.0 ± 1.2"]


def test_cutoffs_are_columns_of_a_figure_over_list_lengths() -> None:
    lines = cutoffs_table([row("dqn", 8, 0.4, share=0.1), row("pq", 8, 0.2)], TEXT).text("github").splitlines()
    assert cells_of(lines[0]) == ["mAP@R in %", "embedding", "bits", "labelled", "R = 1", "R = 10", "all"]
    assert cells_of(lines[2]) == ["audio DQN", "YAMNet", "8", "10 %", "20.0", "10.0", "40.0 ± 1.2"]
    assert cells_of(lines[3])[3:] == ["", "10.0", "5.0", "20.0 ± 1.2"]


def test_csv_has_shares_and_the_paper_s_figures_where_they_belong() -> None:
    rows = [row("pq", 8, 0.25, "worse"), row("pq", 8, 0.25, share=0.1), row("pq", 8, 0.25, share=1.0)]
    lines = list(csv.DictReader(io.StringIO(bits_table(rows, TEXT).csv())))
    assert lines[0]["mAP"] == "0.25"
    assert (lines[0]["data"], lines[0]["num_folds"], lines[0]["verdict"]) == ("made up", "5", "worse")
    assert [line["paper_tlweak"] for line in lines] == ["0.2", "0.2", ""]
    assert [line["paper_vggish"] for line in lines] == ["0.1", "0.1", ""]
