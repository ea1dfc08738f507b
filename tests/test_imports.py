"""Who may import whom, read off the sources."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (
    "callbacks", "datamodules", "experiments", "lightning_modules", "retrieval", "search_tool", "sound", "storage",
)  # fmt: skip
SCRIPTS = ("benchmarks", "compare", "reproduce", "search", "submit", "train")
OURS = (*FOLDERS, *SCRIPTS)
BELOW = tuple(folder for folder in FOLDERS if folder != "experiments")
ROOMS = ("experiments.command", "experiments.grids", "experiments.compare")
SHARED = ("experiments.papers.study", "experiments.papers.data_configs")
# folder -> what of ours it may import; the longest folder that holds a file counts
ALLOWED = {
    "benchmarks": (*FOLDERS, "benchmarks"),
    "callbacks": ("callbacks", "lightning_modules", "retrieval", "storage"),
    "datamodules": ("datamodules", "sound", "storage"),
    "experiments": FOLDERS,
    "experiments/command": (*BELOW, "experiments.command"),
    "experiments/grids": (*BELOW, *ROOMS),
    "experiments/compare": (*BELOW, *ROOMS),
    **{
        f"experiments/papers/{paper}": (*BELOW, *ROOMS, *SHARED, f"experiments.papers.{paper}")
        for paper in ("fan2020", "jati2020", "pedersen2024", "singh2024")  # none knows another
    },
    "lightning_modules": ("lightning_modules", "retrieval", "storage"),
    "lightning_modules/frontends": ("lightning_modules.frontends", "storage"),
    "lightning_modules/losses": ("lightning_modules.losses", "storage"),
    "lightning_modules/networks": ("lightning_modules.networks", "storage"),
    "retrieval": ("retrieval", "storage"),
    "search_tool": ("datamodules", "lightning_modules", "retrieval", "search_tool", "sound", "storage"),
    "sound": ("sound",),
    "storage": ("storage",),
}
# libraries that a folder must do without
FORBIDDEN = {
    "datamodules": ("torchaudio", "faiss", "wandb", "nflows"),
    "retrieval": ("pytorch_lightning", "torchmetrics", "torchaudio", "wandb", "nflows"),
    "lightning_modules/frontends": ("pytorch_lightning", "faiss", "wandb"),
    "lightning_modules/losses": ("pytorch_lightning", "faiss", "wandb"),
    "lightning_modules/networks": ("pytorch_lightning", "faiss", "wandb"),
}
SOURCES = sorted(path for folder in (*FOLDERS, "benchmarks") for path in (ROOT / folder).rglob("*.py"))


def imported_modules(path: Path) -> list[str]:
    modules = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            modules.append(node.module or "")
    return modules


def rule_of(path: Path, rules: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    folder = path.parent.relative_to(ROOT).as_posix()
    matching = [name for name in rules if folder == name or folder.startswith(f"{name}/")]
    return rules[max(matching, key=len)] if matching else ()


def is_within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("path", SOURCES, ids=[path.relative_to(ROOT).as_posix() for path in SOURCES])
def test_folders_import_only_what_they_may(path: Path) -> None:
    ours = [module for module in imported_modules(path) if is_within(module, OURS)]
    wrong = [module for module in ours if not is_within(module, rule_of(path, ALLOWED))]
    wrong += [module for module in imported_modules(path) if is_within(module, rule_of(path, FORBIDDEN))]
    assert not wrong


def test_every_package_with_sources_is_installed() -> None:
    listed = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for folder in sorted({path.parent.relative_to(ROOT).as_posix() for path in SOURCES}):
        assert f'"{folder.replace("/", ".")}"' in listed, folder
