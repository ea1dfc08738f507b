"""Write what a FlowHash study found: tables, figures, and one page with all of them."""

from pathlib import Path

from experiments.compare.study_table import StudyTable, table_files
from experiments.papers.curves import save_figure
from experiments.papers.singh2024.figures import make_figures
from experiments.papers.singh2024.study import FlowStudyResult
from experiments.papers.singh2024.tables import left_out, make_tables
from storage.atomic import write_text


def report_flow_study(result: FlowStudyResult, folder: Path) -> tuple[list[StudyTable], list[Path]]:
    """Write every table as Markdown, LaTeX and CSV, every figure as PNG and SVG, and `report.md` with all of them.

    Returns:
        The tables, the one to show first; and the PNG files.
    """
    tables = make_tables(result)
    pictures = [save_figure(figure, folder, name)[0] for name, figure in make_figures(result).items()]
    for path, text in table_files(tables, folder).items():
        write_text(path, text)
    shown = "\n\n".join(table.markdown() for table in tables[:-1])  # the last lists everything
    links = "\n\n".join(f"![{path.stem}]({path.name})" for path in pictures)
    missing = "".join(f"- {note}\n" for note in left_out(result))
    write_text(
        folder / "report.md",
        f"# Fingerprints and hash codes, {result.data_name}\n\n{shown}\n{links}\n\n## Left out\n\n{missing}",
    )
    return tables, pictures
