"""Write coders as safetensors and read them back, without pickle."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save

import retrieval.codes
from retrieval.codes.base import Coder
from retrieval.files.coders import FORMAT_VERSION, CoderFileError, read_coder_description
from storage.atomic import write_file


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
    name, options = read_coder_description(path)
    kind = getattr(retrieval.codes, name, None) if name in retrieval.codes.__all__ else None
    if not (isinstance(kind, type) and issubclass(kind, Coder)):
        raise CoderFileError(f"{path}: expected one of this project's coders, found {name!r}. Update this project.")
    try:
        coder: Coder = kind(**options)
        state = load_file(path)
        # Buffers made for another precision than the default are taken as they were written.
        floating = next((tensor.dtype for tensor in state.values() if tensor.is_floating_point()), None)
        coder = coder if floating is None else coder.to(floating)
        coder.load_state_dict(state)
    except (SafetensorError, TypeError, ValueError, RuntimeError) as error:
        raise CoderFileError(f"{path}: expected a {name} as written, found a damaged one ({error}).") from error
    return coder
