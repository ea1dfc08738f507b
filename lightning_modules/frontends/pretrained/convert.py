"""Convert released weights to safetensors: python -m lightning_modules.frontends.pretrained.convert yamnet FILE."""

import argparse
from pathlib import Path

from lightning_modules.frontends.pretrained import tlweak, vggish, vggish_post_processor, yamnet
from lightning_modules.frontends.pretrained.release import (
    WeightsError,
    WeightsMissing,
    convert_weights,
    verify_checksum,
)
from storage.errors import StorageError

_MODULES = (yamnet, vggish, vggish_post_processor, tlweak)
_RELEASES = {module.RELEASE.converter: module.RELEASE for module in _MODULES}


def main() -> None:
    """Convert a file as the command line says; a bad file ends the program with one line."""
    known = "\n".join(
        f"  {name}: {', '.join(release.readers)} of {release.where}; to {release.default_path}"
        for name, release in _RELEASES.items()
    )
    parser = argparse.ArgumentParser(
        description=f"Convert released weights to safetensors.\n\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", choices=sorted(_RELEASES))
    parser.add_argument("source", type=Path, help="the released file")
    parser.add_argument("destination", type=Path, nargs="?", help="default: where it is looked for")
    parser.add_argument("--sha256", help="refuse a source with another checksum")
    arguments = parser.parse_args()
    release = _RELEASES[arguments.network]
    try:
        if not arguments.source.is_file():
            raise WeightsMissing(f"Expected {release.name}'s weights at {arguments.source}, found no file there.")
        if arguments.sha256:
            verify_checksum(arguments.source, arguments.sha256, release.name)
        convert_weights(release, arguments.source, arguments.destination or release.default_path)
    except (StorageError, WeightsError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
