"""Tables and figures as files."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from experiments.compare.study_report import write_report
from experiments.compare.study_table import Quantity, StudyTable, measurement_table


@dataclass(frozen=True)
class Cost:
    method: str
    num_items: int
    seconds: float
    num_probes: int | None


COSTS = [Cost("PQ", 1_000_000, 0.123456, None), Cost("VQ", 10, 12_345.6, 3)]


def drawing() -> Figure:
    figure = Figure()
    figure.add_subplot().plot([1, 2])
    return figure


def test_a_measurement_is_rounded_for_people_and_whole_for_programs() -> None:
    table = measurement_table("costs", "Costs", COSTS, {"num_items": "items"})
    assert table.headers == ["method", "items", "seconds", "num_probes"]
    assert table.lines == [["PQ", "1,000,000", "0.1235", ""], ["VQ", "10", "12,346", "3"]]
    assert table.csv().splitlines() == [
        "method,num_items,seconds,num_probes", "PQ,1000000,0.123456,", "VQ,10,12345.6,3",
    ]  # fmt: skip


def test_the_page_has_tables_then_figures_then_its_ending(tmp_path: Path) -> None:
    tables = [
        StudyTable(name, name.upper(), ["x"], [[Quantity("1.0", 1.01)]], ["A note."]) for name in ("first", "long")
    ]
    pictures = write_report(tmp_path / "out", "A title", tables, {"curve": drawing()}, 1, "\nThe end\n")
    assert pictures == [tmp_path / "out" / "curve.png"]
    names = {f"{name}.{suffix}" for name in ("first", "long") for suffix in ("md", "tex", "csv")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {"curve.png", "curve.svg", "report.md"}
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    places = [page.index(part) for part in ("# A title", "## FIRST", "A note.", "![curve](curve.png)", "The end")]
    assert places == sorted(places)
    assert "LONG" not in page
    assert (tmp_path / "out" / "long.csv").read_text().splitlines() == ["x", "1.01"]


def test_a_figure_replaces_another_only_when_it_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (picture,) = write_report(tmp_path, "A title", [], {"curve": drawing()})
    before = {path: path.read_bytes() for path in (picture, picture.with_suffix(".svg"))}
    savefig = Figure.savefig

    def savefig_in_part(figure: Figure, *places: object, **options: object) -> None:
        savefig(figure, *places, **options)  # type: ignore[arg-type]
        raise OSError("No space left on device")

    monkeypatch.setattr(Figure, "savefig", savefig_in_part)
    with pytest.raises(OSError, match="No space left"):
        write_report(tmp_path, "A title", [], {"curve": drawing()})
    assert {path: path.read_bytes() for path in before} == before
