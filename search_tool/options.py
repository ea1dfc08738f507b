"""The command line of search.py; parsed before anything heavy is imported."""

import argparse
from dataclasses import asdict, dataclass, fields

from search_tool.model_records import SearchError

ALL_MATCHED, FAILED, SOME_UNMATCHED = 0, 1, 3  # exit codes; argparse has 2
TRACKS, SOUNDS = "tracks", "clips"  # kinds of index
CLASSICAL_HASHES = ("balanced_residual", "pca_median", "random_hyperplanes")
_OPTIONS_OF = {
    TRACKS: (
        "fingerprinter", "hash", "num_bits", "storage", "hop_seconds", "probes", "calibrate",
        "false_alarm_rate",
    ),
    SOUNDS: ("model",),
}  # fmt: skip
MAX_BITS = 24  # of a bucket's number; retrieval/index/probing.py says why

_EXAMPLES = """examples:
  python search.py index ~/music --index music.index
      nothing has to be trained: fingerprints are pooled spectrograms, the hash is fitted to them
  python search.py index ~/music --index music.index --fingerprinter checkpoints/fingerprinter_small/RUN/last.ckpt
  python search.py index ~/music --index music.index --hash checkpoints/flowhash_plus/RUN/last.ckpt
      the hash's checkpoint names its fingerprinter
  python search.py query snippet.wav --index music.index
  python search.py query *.wav --index music.index --json | jq 'select(.is_match) | .matches[0].track'
  python search.py add new_album/ one_more.mp3 --index music.index
  python search.py remove artist/album/song.mp3 --index music.index
  python search.py index ~/sounds --index sounds.index --model checkpoints/dqn/RUN/last.ckpt
      query by example: which sounds are like this one?

exit codes: 0 all went well, every clip matched; 1 something failed; 2 the command line is wrong; 3 a clip has no match
"""
_INDEX_HELP = """Index every audio file of a folder and those below it. Stopped, it goes on where it was; called again,
it takes in what is new or has changed. Files that can't be read are listed and left out."""
_QUERY_HELP = """Find clips. Of tracks: which one, where in it, how sure (p: how likely a clip that is not in the index
scores as high). Of sounds: the nearest ones, by code."""


@dataclass(frozen=True)
class IndexOptions:
    """What a command line says of an index's models and of how it is built; None where it says nothing.

    Attributes:
        fingerprinter: Of tracks: checkpoint, or `pooled`, the default.
        hash: Of tracks: one of `CLASSICAL_HASHES`, `pca_median` by default, or a checkpoint of a hash.
        model: Of sounds: checkpoint of a model that searches by codes.
        num_bits: Of tracks: length of a code, 12.
        storage: Of tracks: `float16`, the default, `float32` or `product`.
        hop_seconds: Of tracks: from fingerprint to fingerprint, 0.1.
        probes: Of tracks: buckets that a segment of a query visits, 64.
        calibrate: Of tracks: absent queries of each length to calibrate with, 0 for none.
        false_alarm_rate: Of tracks: share of absent clips that may get an answer.
    """

    fingerprinter: str | None = None
    hash: str | None = None
    model: str | None = None
    num_bits: int | None = None
    storage: str | None = None
    hop_seconds: float | None = None
    probes: int | None = None
    calibrate: int | None = None
    false_alarm_rate: float | None = None

    @classmethod
    def parsed(cls, arguments: argparse.Namespace) -> "IndexOptions":
        """Take from a command line what is there."""
        return cls(**{field.name: getattr(arguments, field.name, None) for field in fields(cls)})

    def check_kind(self, kind: str) -> None:
        """Refuse options that are not for a kind of index.

        Raises:
            SearchError: If there is one.
        """
        others = [name for name, value in asdict(self).items() if value is not None and name not in _OPTIONS_OF[kind]]
        if others:
            own = ", ".join(f"--{name}" for name in _OPTIONS_OF[kind])
            raise SearchError(f"The index is one of {kind}; --{others[0]} is not for it. Use {own}.")


def search_parser() -> argparse.ArgumentParser:
    """Return the parser; what it parses has `command`, `index` and the command's options."""
    parser = argparse.ArgumentParser(
        prog="search.py",
        description="Index a folder of music or sounds, and find clips in it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=text.partition(".")[0].lower(), description=text)
        found.add_argument("--index", required=True, metavar="DIR", help="folder of the index")
        found.add_argument("--fingerprinter", metavar="CKPT", help=_MOVED if name != "index" else _FINGERPRINTER)
        found.add_argument("--hash", metavar="HASH", help=_MOVED if name != "index" else _HASH)
        found.add_argument("--model", metavar="CKPT", help=_MOVED if name != "index" else _MODEL)
        return found

    index = command("index", _INDEX_HELP)
    index.add_argument("folder", metavar="FOLDER", help="folder of audio files")
    index.add_argument("--num_bits", type=_bits, metavar="K", help="length of a code; default 12")
    index.add_argument("--storage", choices=("float16", "float32", "product"), help="of fingerprints; product takes "
                       "32 bytes each; default float16")  # fmt: skip
    index.add_argument("--hop_seconds", type=_positive, metavar="S", help="from fingerprint to fingerprint; default "
                       "0.1")  # fmt: skip
    index.add_argument("--probes", type=_count, metavar="B", help="buckets that each second of a query is looked up "
                       "in; more find more and take longer; default 64")  # fmt: skip
    add = command("add", "Add folders or files to an index.")
    add.add_argument("places", nargs="+", metavar="PLACE", help="folders and audio files")
    for parser_of_tracks in (index, add):
        parser_of_tracks.add_argument(
            "--calibrate", type=_count_or_none, metavar="N", help="absent queries of each length to calibrate the "
            "no-match with; 0 for none; default 200 where the index is new or has grown by a tenth",
        )  # fmt: skip
        parser_of_tracks.add_argument(
            "--false_alarm_rate", type=_share, metavar="ALPHA", help="share of absent clips that may get an answer; "
            "default 0.01",
        )  # fmt: skip
    query = command("query", _QUERY_HELP)
    query.add_argument("clips", nargs="+", metavar="CLIP", help="audio files, of tracks at least a second long")
    query.add_argument("--top", type=_count, default=5, metavar="N", help="answers a clip at most; default 5")
    query.add_argument("--json", action="store_true", help="one JSON object a clip and line")
    query.add_argument("--probes", type=_count, metavar="B", help="buckets; default as the index was calibrated")
    query.add_argument("--all", action="store_true", help="show candidates that are no match, too")
    remove = command("remove", "Remove tracks or sounds by name. `compact` frees their space.")
    remove.add_argument("names", nargs="+", metavar="NAME", help="as `info --names` lists them")
    info = command("info", "Say what an index holds.")
    info.add_argument("--json", action="store_true", help="as JSON")
    info.add_argument("--names", action="store_true", help="list the names of all tracks or sounds")
    command("compact", "Write an index anew without what was removed.")
    command("verify", "Read all files of an index and compare checksums.")
    return parser


_MOVED = "its new place, if the checkpoint that the index was built with has been moved"
_FINGERPRINTER = "checkpoint of a fingerprinter, or pooled, which needs none; default pooled, or what --hash names"
_HASH = f"{', '.join(CLASSICAL_HASHES)} or a checkpoint of flowhash.yaml or flowhash_plus.yaml; default pca_median"
_MODEL = "checkpoint of a model of sound events, such as dqn.yaml's, to index sounds for query by example"


def _bits(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MAX_BITS:
        raise argparse.ArgumentTypeError(f"expected 1 to {MAX_BITS} bits; got {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1; got {text}")
    return value


def _count_or_none(text: str) -> int:
    return 0 if text == "0" else _count(text)


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected a time above 0 s; got {text}")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a share between 0 and 1; got {text}")
    return value
