"""Nothing in the sources reads a file in a way that lets it run code, or writes one in a way that loses bytes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_imports import FOLDERS, ROOT, SCRIPTS

SOURCES = sorted(
    path
    for place in (*FOLDERS, *SCRIPTS)
    for path in ([ROOT / f"{place}.py"] if (ROOT / f"{place}.py").is_file() else (ROOT / place).rglob("*.py"))
)
# call -> what it must be told, and as what
REQUIRED = {
    "torch.load": ("weights_only", True),
    "load_from_checkpoint": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
METHODS = ("load_from_checkpoint", "tofile")  # of whatever object
TRAINER_CALLS = ("fit", "validate", "test", "predict")
FORBIDDEN = {
    "pickle.load": "runs what the file says",
    "pickle.loads": "runs what the file says",
    "pickle.Unpickler": "runs what the file says",
    "joblib.load": "runs what the file says",
    "yaml.load": "makes any object; take yaml.safe_load",
    "yaml.full_load": "makes objects; take yaml.safe_load",
    "yaml.unsafe_load": "makes any object; take yaml.safe_load",
    "eval": "runs what it is given",
    "exec": "runs what it is given",
    "os.system": "runs what it is given",
    "np.save": "loses bytes where the disk is full; take storage.atomic.write_array",
    "faiss.write_index": "loses bytes where the disk is full, but into a PyCallbackIOWriter; take save_faiss",
    "np.lib.format.open_memmap": "ends the process where the disk is full",
    "tofile": "loses bytes where the disk is full",
    "tarfile.extractall": "follows names out of the folder",
    "shutil.unpack_archive": "follows names out of the folder",
}


def calls(source: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield every call with the name it is called by; of a method on something computed, the last part."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def problems(source: str) -> list[str]:
    found = []
    for name, call in calls(source):
        last = name.rpartition(".")[2]
        told = {keyword.arg: keyword.value for keyword in call.keywords}
        for key in {name, last} if last in METHODS else {name}:
            if key in FORBIDDEN:
                found.append(f"line {call.lineno}: {name} {FORBIDDEN[key]}")
            if key in REQUIRED:
                option, value = REQUIRED[key]
                given = told.get(option)
                if not (isinstance(given, ast.Constant) and given.value is value):
                    found.append(f"line {call.lineno}: {name} without {option}={value}")
        if last in TRAINER_CALLS and "ckpt_path" in told and ast.unparse(told.get("weights_only", call)) != "True":
            found.append(f"line {call.lineno}: {name} with a ckpt_path and without weights_only=True")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=[path.relative_to(ROOT).as_posix() for path in SOURCES])
def test_files_are_read_without_running_code(path: Path) -> None:
    assert problems(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "Model.load_from_checkpoint(path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, mmap_mode='r')['a']",
        "self.trainer.test(model, ckpt_path='best')",
        "pickle.load(file)",
        "yaml.load(text, yaml.Loader)",
        "eval(text)",
        "np.save(path, array)",
        "array.astype('<f4').tofile(file)",
    ],
)
def test_each_of_these_would_be_found(line: str) -> None:
    assert len(problems(line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path, weights_only=True)",
        "Model.load_from_checkpoint(path, weights_only=True)",
        "np.load(path, allow_pickle=False)",
        "self.trainer.test(model, ckpt_path='best', weights_only=True)",
        "yaml.safe_load(text)",
        "model.eval()",
    ],
)
def test_none_of_these_would_be(line: str) -> None:
    assert problems(line) == []
