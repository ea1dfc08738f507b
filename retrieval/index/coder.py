"""What indexes ask of coders: codes of many vectors, a file, and whether two of them are one."""

from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from retrieval.codes import Coder, load_coder, save_coder

_CODER_FILE = "coder.safetensors"
# A quantizer tabulates books x words distances a vector while it encodes; so many vectors take some 30 MB.
_CHUNK_VECTORS = 4096
CoderKind = TypeVar("CoderKind", bound=Coder)


@torch.no_grad()
def encode_in_chunks(coder: Coder, vectors: Tensor) -> Tensor:
    """Encode any number of vectors, a few thousand at a time.

    Raises:
        ValueError: If they have another size than `dim`, or one is not finite.
        RuntimeError: If the coder is not fitted.
    """
    coder.check_vectors(vectors)
    return torch.cat([coder.encode(chunk) for chunk in vectors.split(_CHUNK_VECTORS)])


def write_coder(coder: Coder, folder: Path) -> None:
    """Write the coder of the index in `folder`."""
    save_coder(coder, folder / _CODER_FILE)


def read_coder(folder: Path, kind: type[CoderKind]) -> CoderKind:
    """Read the coder of the index in `folder`.

    Raises:
        ValueError: If it is damaged or of another kind.
        FileNotFoundError: If it is missing.
    """
    coder = load_coder(folder / _CODER_FILE)
    if not isinstance(coder, kind):
        raise ValueError(f"expected a {kind.__name__}, found a {type(coder).__name__}")  # noqa: TRY004 - it is in a file
    return coder


def has_equal_state(coder: Coder, other: Coder) -> bool:
    """Whether two coders encode every vector alike: one kind, one set of options, one state."""
    if type(coder) is not type(other) or coder.options() != other.options():
        return False
    state, other_state = coder.state_dict(), other.state_dict()
    return all(torch.equal(tensor.cpu(), other_state[name].cpu()) for name, tensor in state.items())
