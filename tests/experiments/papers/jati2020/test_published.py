"""The papers' values as data."""

import pytest

from experiments.papers.jati2020.published import read_published


def test_cells_are_found_by_embedding_method_and_bits() -> None:
    table = read_published("table1")
    assert table.value("tlweak", "dqn", 64) == 46.83
    assert table.value("vggish", "sh", 8) == 9.23
    assert table.value("tlweak", "dqn", 48) is None
    assert table.value("yamnet", "dqn", 64) is None
    assert table.value("tlweak", "lsh", 64) is None


@pytest.mark.parametrize("name", ["table1", "table2"])
def test_every_row_has_a_figure_or_a_gap_for_every_length(name: str) -> None:
    table = read_published(name)
    assert table.source
    assert table.corpus
    rows = [row for methods in table.mean_ap_percent.values() for row in methods.values()]
    assert len(rows) == 10
    for row in rows:
        assert len(row) == len(table.bits)
        assert all(value is None or 5 < value < 50 for value in row)


def test_the_learned_code_is_above_every_other_where_both_can_be_read() -> None:
    for name in ("table1", "table2"):
        table = read_published(name)
        for methods in table.mean_ap_percent.values():
            for method, row in methods.items():
                for learned, other in zip(methods["dqn"], row, strict=True):
                    if method == "dqn" or learned is None or other is None or (name == "table2" and method == "agh"):
                        continue  # on ESC-50 AGH comes close
                    assert learned > other, (name, method)
