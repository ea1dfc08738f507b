"""Pages of the manual, and the blocks of code in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
IDS = [path.relative_to(ROOT).as_posix() for path in PAGES]
_FENCE = re.compile(
    r"^(?P<fence>`{3,})(?: \{ \.)?(?P<language>\w*)(?: \})?\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL
)
_REASON = re.compile(r"<!-- not run: (.+?) -->\n\Z")
_SNIPPET = re.compile(r'^--8<-- "(?P<file>[^":]+)"$', re.MULTILINE)
_INLINE = re.compile(r"`(python [^`]+)`")


@dataclass(frozen=True)
class Block:
    """A block of code of a page.

    Attributes:
        language: Named after the fence; empty where none is.
        text: What is in it, with files that it includes.
        reason: Why it is not run; None where it is.
    """

    language: str
    text: str
    reason: str | None


def read_blocks(path: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    page = path.read_text(encoding="utf-8")
    blocks = []
    for match in _FENCE.finditer(page):
        reason = _REASON.search(page[: match.start()])
        text = _SNIPPET.sub(lambda found: (DOCS / found["file"]).read_text(encoding="utf-8"), match["text"])
        blocks.append(Block(match["language"], text, reason[1] if reason else None))
    return blocks


def commands(path: Path) -> Iterator[list[str]]:
    """Yield the commands of a page, as words: those of blocks that are run, and `python ...` in its text."""
    for block in read_blocks(path):
        if block.language == "sh" and block.reason is None:
            for line in block.text.replace("\\\n", " ").splitlines():
                yield shlex.split(line, comments=True)
    prose = _FENCE.sub("", path.read_text(encoding="utf-8"))
    for match in _INLINE.finditer(prose):
        yield shlex.split(match[1])
