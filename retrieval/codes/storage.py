"""Write coders as safetensors and read them back, without pickle."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

import retrieval.codes
from retrieval.codes.base import Coder
from storage.atomic import write_file

FORMAT_VERSION = 1


class CoderFileError(ValueError):
    """A file does not hold a coder."""


def save_coder(coder: Coder, path: Path) -> None:
    """Write a coder with its constructor's arguments; the file appears only when complete.

    Args:
        coder: Fitted or not; on any device.
        path: File to write, usually `*.safetensors`; its folder is made if it is not there.

    Raises:
        FileNotWritten: If it can't be written.
    """
    description = {"version": FORMAT_VERSION, "coder": type(coder).__name__, "options": coder.options()}
    tensors = {name: tensor.detach().contiguous() for name, tensor in coder.state_dict().items()}
    content = save(tensors, metadata={"coder": json.dumps(description)})
    write_file(path, lambda file: file.write(content))


def load_coder(path: Path) -> Coder:
    """Read a coder that `save_coder` wrote; it lies on the host.

    Raises:
        FileNotFoundError: If there is no such file.
        CoderFileError: If it is damaged, of a later version, or holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected a coder in {path}, found no file there. Write one with save_coder.")
    try:
        with safe_open(path, "pt") as file:
            description = json.loads((file.metadata() or {})["coder"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        version, name, options = description["version"], description["coder"], description["options"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CoderFileError(f"{path}: expected a coder, found something else ({error!r}). Write it again.") from error
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CoderFileError(
            f"{path}: expected version {FORMAT_VERSION} or earlier, found {version!r}. Update this project."
        )
    kind = getattr(retrieval.codes, name, None) if name in retrieval.codes.__all__ else None
    if not (isinstance(kind, type) and issubclass(kind, Coder)):
        raise CoderFileError(f"{path}: expected one of this project's coders, found {name!r}. Update this project.")
    try:
        coder: Coder = kind(**options)
        # Buffers made for another precision than the default are taken as they were written.
        floating = next((tensor.dtype for tensor in state.values() if tensor.is_floating_point()), None)
        coder = coder if floating is None else coder.to(floating)
        coder.load_state_dict(state)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CoderFileError(f"{path}: expected a {name} as written, found a damaged one ({error}).") from error
    return coder
