"""The pages of the manual: all are found, name what there is, and lead somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import DOCS, IDS, PAGES, ROOT, read_blocks
from tests.test_imports import FOLDERS

RUN = ("python", "sh", "yaml")  # languages of blocks that a test runs or reads
SHOWN = ("text", "markdown")
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)#?[^)\s]*\)")


def listed(nav: list[object] | str) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav:
            yield from listed(next(iter(entry.values())) if isinstance(entry, dict) else str(entry))


def test_every_page_is_in_the_navigation() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert sorted(listed(nav)) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_links_lead_to_files(path: Path) -> None:
    links = [link for link in LINK.findall(path.read_text(encoding="utf-8")) if link]
    assert [link for link in links if not (path.parent / link).is_file()] == []


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_blocks_are_run_or_shown(path: Path) -> None:
    assert {block.language for block in read_blocks(path)} <= {*RUN, *SHOWN}


def test_every_config_has_its_line() -> None:
    page = (DOCS / "configs.md").read_text(encoding="utf-8")
    for path in (ROOT / "configs").rglob("*.yaml"):
        assert path.name in page or f"`{path.stem}`" in page, path.name


def test_every_variable_is_explained() -> None:
    pages = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
    sources = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    named = {name for path in sources for name in re.findall(r'"(EARMARK_\w+)"', path.read_text(encoding="utf-8"))}
    of_runs = {"EARMARK_RUN"}  # set by a run for its own processes
    assert sorted(name for name in named - of_runs if name not in pages) == []


def test_every_package_is_in_the_reference() -> None:
    pages = [path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.md")]
    shown = {package for page in pages for package in re.findall(r"^::: (\S+)", page, re.MULTILINE)}
    sources = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if path.name != "__init__.py"]
    packages = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in sources}
    within = tuple(f"{package}." for package in shown)
    tops = set(FOLDERS)  # what lies in them beside packages is shown by name
    assert sorted(name for name in packages - shown - tops if not name.startswith(within)) == []
    assert sorted(name for name in tops if not any(f"{package}.".startswith(f"{name}.") for package in shown)) == []


def test_the_front_page_is_short() -> None:
    assert 6_000 <= (ROOT / "README.md").stat().st_size <= 8_192
