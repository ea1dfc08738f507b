"""What a paper has to have, and where papers are found.

A paper is a folder with a file `study.py` that lists its studies, `STUDIES = (Table1, Table2)`; its tables, figures
and own numbers lie beside it. Here it is one of `experiments/papers`. A user's is a package on PYTHONPATH that
EARMARK_TRUSTED_PACKAGES names, or a folder of such a package: `reproduce.py` has its studies without being told more.
"""

import importlib
import importlib.util
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import Field, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from experiments.compare.study_report import Report
from experiments.grids.cell import GridRunner

TRUST_VARIABLE = "EARMARK_TRUSTED_PACKAGES"
_PAPERS = "experiments.papers"
_OURS = "experiments.grids.sweep_study"  # of no paper: `sweep` and `choose`


@runtime_checkable
class IsDataclass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Settings = TypeVar("Settings", bound=IsDataclass)


class StudyError(ValueError):
    """A paper's `study.py` does not list studies, or lists one that is there already."""


@runtime_checkable  # or the shape checks of the tests can't be turned on
class Study(IsDataclass, Protocol):
    """What `reproduce.py NAME` makes: a table, a figure, or the whole comparison of a paper.

    A frozen dataclass: its fields are the options, all with a default; a tuple takes several values. The first line of
    its docstring says what it is, the Attributes what options mean. `--help` shows both and is to come at once, so
    what brings torch, Lightning or matplotlib is imported by `run`.

    Attributes:
        name: On the command line.
        runs_cells: Whether it has cells to run, and so takes --workers, --slurm and what goes with them.
        is_logged: Whether its report goes to W&B.
    """

    name: ClassVar[str]
    runs_cells: ClassVar[bool] = True
    is_logged: ClassVar[bool] = True

    def run(self, arguments: Sequence[str], output: Path | None, run_cells: GridRunner) -> Report:
        """Run what has not been run before, and write tables and figures.

        Args:
            arguments: What goes to the data and to every run, options with a dot such as `--data.root`.
            output: Folder of all that is written; None leaves it to the study.
            run_cells: Runs cells, on this machine or as an array of jobs.

        Raises:
            ValueError: If an option or an argument is not understood.
        """
        ...


def several_of(names: Iterable[str]) -> Any:  # noqa: ANN401 - as dataclasses.field has it
    """Declare an option of a study that takes several of these names; none leaves the choice to the study."""
    return field(default=(), metadata={"choices": tuple(names)})


def with_options(settings: Settings, study: Study) -> Settings:
    """Return the settings of a preset with what a study's options say in their place, where one was given."""
    shared = {each.name for each in fields(settings)} & {each.name for each in fields(study)}
    return replace(settings, **{name: given for name in shared if (given := getattr(study, name))})


def find_studies() -> dict[str, Study]:
    """Find the studies of all papers, and ours of any config, by name.

    Raises:
        StudyError: If a `study.py` can't be imported, lists none, or one that another has already.
    """
    users = [name.strip() for name in os.environ.get(TRUST_VARIABLE, "").split(",") if name.strip()]
    found: dict[str, Study] = {}
    for module in [*_modules(_PAPERS, "*/study.py"), _OURS, *(each for name in users for each in _users_modules(name))]:
        try:
            studies: list[Study] = [make() for make in importlib.import_module(module).STUDIES]
        except (ImportError, AttributeError, TypeError) as error:
            raise StudyError(
                f"Expected {module} to list its studies as STUDIES; found {error}. Mend it, or take its package out of "
                f"{TRUST_VARIABLE}."
            ) from error
        for study in studies:
            if study.name in found:
                raise StudyError(
                    f"Expected studies of different names; {found[study.name].__module__} and {module} have a "
                    f"{study.name}. Rename one."
                )
            found[study.name] = study
    return found


def _users_modules(package: str) -> Iterator[str]:
    """Yield the `study` modules of a package that is trusted; one that can't be found here has none."""
    try:
        is_there = importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        is_there = False
    if is_there:
        yield from _modules(package, "study.py")
        yield from _modules(package, "*/study.py")


def _modules(package: str, pattern: str) -> Iterator[str]:
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations if spec else None) or []:
        for path in sorted(Path(folder).glob(pattern)):
            yield ".".join([package, *path.relative_to(folder).with_suffix("").parts])
