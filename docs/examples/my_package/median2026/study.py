"""What `reproduce.py` has of a paper of one's own: is a cut at medians as good as ITQ?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.compare.study_report import Report
from experiments.grids.cell import Cell, GridRunner
from experiments.papers.study import Study

CODERS = {"ITQ": "retrieval.codes.IterativeQuantization", "median cut": "my_package.code.MedianCutHash"}


@dataclass(frozen=True)
class MedianCut(Study):
    """Accuracy (mAP) of the median cut beside ITQ, on any corpus of clips.

    Attributes:
        data_config: Corpus, a config such as data/esc50.yaml.
        bits: Code lengths.
    """

    name = "median_cut"
    data_config: str = "data/rendered_events.yaml"
    bits: tuple[int, ...] = (8, 16, 32)

    def run(self, arguments: Sequence[str], output: Path | None, run_cells: GridRunner) -> Report:
        """Run every code at every length, and lay their mAP out."""
        from experiments.compare.study_report import write_report
        from experiments.compare.study_table import Quantity, StudyTable

        folder = output or Path("runs/reproduce/median_cut")
        cells = {
            (method, num_bits): Cell(
                method.replace(" ", "_"), "own", num_bits, 0, 0, None,
                ("--config=baselines/itq.yaml", f"--config={self.data_config}", f"--model.coder={coder}",
                 f"--model.num_bits={num_bits}", *arguments),
            )
            for method, coder in CODERS.items()
            for num_bits in self.bits
        }  # fmt: skip
        finished = run_cells(list(cells.values()), folder)
        found = {key: finished.results[cell].mean_ap for key, cell in cells.items() if cell in finished.results}
        lines = [
            [method, *(Quantity(f"{100 * found[method, n]:.1f}", found[method, n]) for n in self.bits)]
            for method in CODERS
            if all((method, num_bits) in found for num_bits in self.bits)
        ]
        data_name = next((each.data_name for each in finished.results.values()), "")
        headers = ["mAP in %", *(f"{num_bits} bits" for num_bits in self.bits)]
        table = StudyTable("median_cut", f"A cut at medians, {data_name}", headers, lines)
        write_report(folder, "A cut at medians", [table], figures={})
        return Report(folder, data_name, [table], failures=finished.told_failures)


STUDIES = (MedianCut,)
