"""What indexes ask of coders: a file, and whether two of them are one."""

from pathlib import Path
from typing import TypeVar

import torch

from retrieval.codes import Coder, load_coder, save_coder
from retrieval.files.coders import CODER_FILE

CoderKind = TypeVar("CoderKind", bound=Coder)


def write_coder(coder: Coder, folder: Path) -> None:
    """Write the coder of the index in `folder`."""
    save_coder(coder, folder / CODER_FILE)


def read_coder(folder: Path, kind: type[CoderKind]) -> CoderKind:
    """Read the coder of the index in `folder`.

    Raises:
        ValueError: If it is damaged or of another kind.
        FileNotFoundError: If it is missing.
    """
    coder = load_coder(folder / CODER_FILE)
    if not isinstance(coder, kind):
        raise ValueError(f"expected a {kind.__name__}, found a {type(coder).__name__}")  # noqa: TRY004 - it is in a file
    return coder


def has_equal_state(coder: Coder, other: Coder) -> bool:
    """Whether two coders encode every vector alike: one kind, one set of options, one state."""
    if type(coder) is not type(other) or coder.options() != other.options():
        return False
    state, other_state = coder.state_dict(), other.state_dict()
    return all(torch.equal(tensor.cpu(), other_state[name].cpu()) for name, tensor in state.items())
