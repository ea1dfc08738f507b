"""Tables as text: every figure in its place, every mark explained."""

import csv
import io

from experiments.published_values import PublishedTable
from experiments.summary import Row
from experiments.table_files import csv_text, table_text

PUBLISHED = PublishedTable(
    "Table 0", "a corpus", [8, 16], {"tlweak": {"pq": [20.0, None]}, "vggish": {"pq": [10.0, 30.0]}}
)
LABELS = {"pq": "PQ", "dqn": "audio DQN"}
NAMES = {"pq": "pq", "dqn": None}


def row(method: str, num_bits: int, mean_ap: float, *, below: bool = False, embedding: str = "yamnet") -> Row:
    return Row(method, embedding, num_bits, None, mean_ap, 0.012, 0.1, 0.3, 5, 3, {}, 0.01, below)


def lines_of(rows: list[Row], style: str = "github") -> list[str]:
    return table_text(rows, LABELS, NAMES, PUBLISHED, "made up", "dqn", style).splitlines()


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_ours_and_theirs_stand_below_each_other() -> None:
    lines = lines_of([row("pq", 8, 0.25, below=True), row("pq", 16, 0.25), row("dqn", 16, 0.5)])
    assert cells_of(lines[0]) == ["mAP in %", "embedding", "8 bits", "16 bits"]
    assert cells_of(lines[2]) == ["PQ", "YAMNet", "25.0 ± 1.2 *", "25.0 ± 1.2 !"]
    assert cells_of(lines[3]) == ["the paper's", "TLWeak", "20.0", ""]
    assert cells_of(lines[4]) == ["the paper's", "VGGish", "10.0", "30.0"]
    assert cells_of(lines[5]) == ["audio DQN", "YAMNet", "", "50.0 ± 1.2"]
    notes = "\n".join(lines[6:])
    assert "made up" in notes
    assert "5 x 3" in notes
    assert "* audio DQN is better" in notes
    assert "! below the paper's" in notes


def test_the_same_embedding_is_held_to_its_own_figure() -> None:
    lines = lines_of([row("pq", 8, 0.15, embedding="vggish")])
    assert cells_of(lines[2])[2] == "15.0 ± 1.2"  # above VGGish's 10, below TLWeak's 20
    assert not any(line.startswith("!") for line in lines)


def test_latex_is_a_tabular() -> None:
    text = "\n".join(lines_of([row("pq", 8, 0.25)], "latex_booktabs"))
    assert "\\begin{tabular}" in text
    assert "\\toprule" in text


def test_csv_has_shares_and_the_paper_s_figures() -> None:
    (line,) = csv.DictReader(io.StringIO(csv_text([row("pq", 8, 0.25)], "made up", NAMES, PUBLISHED)))
    assert line["mAP"] == "0.25"
    assert (line["paper_tlweak"], line["paper_vggish"]) == ("0.2", "0.1")
    assert (line["data"], line["num_folds"], line["reference_is_better"]) == ("made up", "5", "False")
