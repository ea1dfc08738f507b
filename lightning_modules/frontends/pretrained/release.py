"""Find, verify and convert published weights: one way for every pretrained network.

A network's own file describes its release and reads the release's formats; searching, fetching, checking
shapes and checksums, and writing safetensors happen here. Pickles are read as tensors only.
"""

import logging
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from storage.atomic import write_file
from storage.errors import NotFetched
from storage.fetch import download
from storage.manifest import hash_file

_logger = logging.getLogger(__name__)

Shapes = dict[str, tuple[int, ...]]
# An object, or an object and the name that files have for it.
SafeGlobal = Callable[..., object] | tuple[Callable[..., object], str]
# What readers raise on a file that is cut off, damaged or something else.
_UNREADABLE = (
    OSError, ValueError, KeyError, IndexError, EOFError, RuntimeError, struct.error,
    SafetensorError, pickle.UnpicklingError, zipfile.BadZipFile,
)  # fmt: skip


class WeightsError(RuntimeError):
    """A file of pretrained weights can't be used."""


class WeightsMissing(WeightsError):
    """There is no such file, and it could not be fetched."""


class WeightsMismatch(WeightsError):
    """The file is damaged or holds something else."""


@dataclass(frozen=True)
class Release:
    """What is known of published weights.

    Attributes:
        name: What messages call them.
        url: The file that is fetched, or for a person to fetch.
        license: The licence the weights come under, as far as their publisher states one.
        variable: Environment variable that names a local file.
        option: Option of the command line that names a local file.
        default_path: Where a converted file is looked for, and put after fetching.
        converter: What `python -m lightning_modules.frontends.pretrained.convert` calls it.
        readers: What reads a state dict from a file, by the file's suffix; safetensors need none.
        expected_shapes: Makes the shapes of the state dict; a function, so that nothing is built before it is needed.
        num_bytes: Size of the file at `url`; None if not known for certain.
        sha256: Checksum of the file at `url`; None if not known for certain, and then nothing is fetched.
        also_at: Further words on where to get it.
    """

    name: str
    url: str
    license: str
    variable: str
    option: str
    default_path: Path
    converter: str
    readers: Mapping[str, Callable[[Path], dict[str, Tensor]]]
    expected_shapes: Callable[[], Shapes]
    num_bytes: int | None = None
    sha256: str | None = None
    also_at: str = ""

    @property
    def where(self) -> str:
        """Address, size and licence in words."""
        size = "" if self.num_bytes is None else f"{self.num_bytes / 1e6:.1f} MB, "
        return f"{self.url} ({size}licence: {self.license}){self.also_at}"


def find_weights(release: Release, path: str | None) -> Path:
    """Locate the weight file: the path given, else the environment variable, else the default, else fetch it.

    Raises:
        WeightsMissing: If the file named doesn't exist, or none is named and the release can't be fetched.
        WeightsMismatch: If what was fetched is not the release.
    """
    named = path or os.environ.get(release.variable)
    if named:
        if not Path(named).is_file():
            source = "the config or command line" if path else f"${release.variable}"
            otherwise = f", or leave it out to have {release.url} fetched" if release.sha256 else ""
            raise WeightsMissing(
                f"Expected {release.name}'s weights at {named} (named by {source}), found no file there. Correct the "
                f"path{otherwise}. The release is {release.where}."
            )
        return Path(named)
    if not release.default_path.is_file():
        _fetch(release)
    return release.default_path


def verify_checksum(path: Path, sha256: str, name: str) -> None:
    """Compare a file's SHA-256 with the one expected; case is ignored.

    Raises:
        WeightsMismatch: If they differ.
    """
    found = hash_file(path)
    if found != sha256.lower():
        raise WeightsMismatch(
            f"Expected {name} with SHA-256 {sha256.lower()} in {path}, found {found} ({path.stat().st_size} bytes). "
            "Fetch the file again, or correct the checksum."
        )


def read_weights(release: Release, path: Path) -> dict[str, Tensor]:
    """Read a state dict from safetensors or one of the release's formats, as float32.

    Raises:
        WeightsMismatch: If the file can't be read or holds something else.
    """
    readers = {".safetensors": load_file, **release.readers}
    if path.suffix not in readers:
        raise WeightsMismatch(f"Expected {release.name}'s weights as one of {', '.join(readers)}; found {path}.")
    try:
        state = readers[path.suffix](path)
    except WeightsError:
        raise
    except _UNREADABLE as error:
        raise WeightsMismatch(
            f"Expected {release.name}'s weights in {path}; it can't be read ({error}). Get it again from "
            f"{release.where}."
        ) from error
    _check_shapes(release, state, path)
    return {name: tensor.float() for name, tensor in state.items()}


def convert_weights(release: Release, source: Path, destination: Path) -> None:
    """Write any readable weight file as safetensors; the destination appears only when complete.

    Raises:
        WeightsMismatch: If the source is not the release, or the destination is not called `.safetensors`.
        FileNotWritten: If the disk is full.
    """
    if destination.suffix != ".safetensors":
        raise WeightsMismatch(f"Expected a destination that ends in .safetensors, found {destination}. Rename it.")
    state = read_weights(release, source)
    content = save({name: tensor.contiguous() for name, tensor in state.items()})
    write_file(destination, lambda file: file.write(content))


def load_torch_file(path: Path, safe_globals: Iterable[SafeGlobal] = ()) -> dict[str, object]:
    """Read a dictionary saved by torch (zip or legacy format, Python 2 too) without running code from it.

    Args:
        path: A file written by `torch.save`.
        safe_globals: What the file may name besides what tensors need; see `torch.serialization.safe_globals`.

    Raises:
        ValueError: If it holds something else than a dictionary of plain data.
    """
    try:
        with torch.serialization.safe_globals(list(safe_globals)):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own message advises to run the file's code
        raise ValueError("it is damaged, or holds code or objects beside tensors") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"a dictionary was expected, found {type(content).__name__}")  # noqa: TRY004
    return {str(name): value for name, value in content.items()}


def tensors_only(content: Mapping[str, object]) -> dict[str, Tensor]:
    """Return the dictionary if all its values are tensors.

    Raises:
        ValueError: If one is not.
    """
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if others := sorted(content.keys() - tensors.keys()):
        raise ValueError(f"a state dict was expected, but {others[0]} is no tensor")
    return tensors


def shapes_of(network_class: Callable[[], nn.Module]) -> Shapes:
    """Return the shapes of a network's state dict, without memory for its weights."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in network_class().state_dict().items()}


def _fetch(release: Release) -> None:
    naming = (
        f"Put it anywhere and name it with {release.option} PATH or ${release.variable}, or convert it: "
        f"`python -m lightning_modules.frontends.pretrained.convert {release.converter} FILE`."
    )
    if release.sha256 is None:
        raise WeightsMissing(
            f"{release.name}'s weights are missing, and are not fetched for you because no checksum of the release is "
            f"known to verify them by. Get {release.where}. {naming}"
        )
    _logger.warning("Fetching %s's weights to %s: %s", release.name, release.default_path.resolve(), release.where)
    file = release.default_path.with_name(PurePosixPath(urlparse(release.url).path).name)
    try:
        download(release.url, file)
    except NotFetched as error:
        raise WeightsMissing(
            f"{release.name}'s weights are missing and {release.url} can't be reached ({error}). Get {release.where}. "
            f"{naming} `--config demo.yaml` needs neither weights nor a corpus."
        ) from error
    try:
        verify_checksum(file, release.sha256, f"the release of {release.name}")
        convert_weights(release, file, release.default_path)
    finally:
        file.unlink()


def _check_shapes(release: Release, state: Mapping[str, Tensor], path: Path) -> None:
    expected = release.expected_shapes()
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise WeightsMismatch(
            f"Expected {release.name} in {path}; {len(wrong)} tensors differ, first {wrong[0]}: expected shape "
            f"{expected.get(wrong[0])}, found {found.get(wrong[0])}. The release is {release.where}."
        )
