"""Write what a FlowHash study found."""

from pathlib import Path

from experiments.compare.study_report import Report, write_report
from experiments.compare.study_table import StudyTable
from experiments.papers.singh2024.analysis_tables import (
    alarm_table,
    balance_table,
    closeness_table,
    efficiency_table,
    width_table,
)
from experiments.papers.singh2024.comparison import FlowStudyResult
from experiments.papers.singh2024.figures import make_figures
from experiments.papers.singh2024.search_tables import (
    dim_table,
    fingerprint_dims,
    full_table,
    large_table,
    overview_table,
    recall_table,
    repeat_table,
)
from experiments.papers.singh2024.settings import TABLE_OF_CORPUS


def report_flow_study(result: FlowStudyResult, folder: Path) -> Report:
    """Write every table and figure, and a page with all of them and what was left out."""
    tables = _tables(result)
    missing = "".join(f"- {note}\n" for note in _left_out(result))
    pictures = write_report(
        folder, f"Fingerprints and hash codes, {result.data_name}", tables, make_figures(result), num_files_only=1,
        ending=f"\n## Left out\n\n{missing}",
    )  # fmt: skip
    return Report(folder, result.data_name, tables, pictures)


def _tables(result: FlowStudyResult) -> list[StudyTable]:
    """Return all tables of a study, the one to show first at the head."""
    tables = [overview_table(result), recall_table(result), large_table(result)]
    tables += [width_table(result)] if result.widths else []
    tables += [dim_table(result)] if len(fingerprint_dims(result)) > 1 else []
    tables += [repeat_table(result), efficiency_table(result), balance_table(result)]
    tables += [closeness_table(result)] if result.closeness else []
    tables += [alarm_table(result)] if result.false_alarms else []
    return [*tables, full_table(result)]


def _left_out(result: FlowStudyResult) -> list[str]:
    """Say which of the paper's tables are not among them, and how to get them."""
    own = TABLE_OF_CORPUS.get(result.corpus)
    how = {
        "table1": "--data_config data/fma.yaml", "table3": "--data_config data/librispeech.yaml",
        "table4": "--data_config data/music_folder.yaml (the paper's corpus is not public)",
    }  # fmt: skip
    notes = [f"{name} is on another corpus: {option}." for name, option in how.items() if name != own]
    if len(fingerprint_dims(result)) < 2:
        notes.append("table6 compares sizes of the fingerprint: give several transformers to --fingerprinter.")
    if not result.widths:
        notes.append("table5 is of FlowHash, which is not among --methods.")
    if not result.false_alarms:
        notes.append("False alarms take 99 queries at least of tracks that are left out: raise --num_queries.")
    return notes
