"""Options of runs, flat and by the names that the command line knows, and which of them tell runs apart."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# Where things lie and how a run is shown: no difference between two runs.
_NO_DIFFERENCE = re.compile(
    r"(^|\.)(default_root_dir|dirpath|save_dir|cache_dir|root|ckpt_path|weights_only|verbose|test_after_fit|"
    r"return_predictions|data_name|config|project|run_id)$|^preemption\b|^trainer\.(logger|enable_\w+|log_every_n_steps|profiler)\b|"
    r"^trainer\.callbacks\.(\w*Report|CodeExport|CheckpointArtifact|\w*Checkpoint|\w*ProgressBar)\b"
)
RUN_VARIABLE = "EARMARK_RUN"  # names a run
_SEED = re.compile(r"(^|\.|_)seed$|^seed_everything$")
_FOLD = re.compile(r"(^|\.)fold$")
MISSING = ""
_NULL = "null"


def flatten_options(config: Mapping[str, Any]) -> dict[str, str]:
    """Flatten a config to what `--help` calls its options, as text.

    `model: {class_path: a.B, init_args: {c: 1}}` becomes `model: B` and `model.c: 1`; a list of such classes, as
    callbacks are, `trainer.callbacks.B.c`. An option that is null is left out: it is not set.
    """
    return {name: value for name, value in _flatten(config, "") if value != _NULL}


def is_seed(option: str) -> bool:
    """Whether it is a seed of something drawn."""
    return bool(_SEED.search(option))


def is_fold(option: str) -> bool:
    """Whether it is the fold of a cross-validation."""
    return bool(_FOLD.search(option))


def tells_apart(option: str) -> bool:
    """Whether runs that differ in it are not repetitions of one another."""
    return not (is_seed(option) or is_fold(option) or _NO_DIFFERENCE.search(option))


def config_name(config: Mapping[str, Any]) -> str:
    """Name the configs that a run was started with, without that of its corpus: `dqn`; empty where that is not kept."""
    named = config.get("config")
    paths = [Path(str(each)) for each in named] if isinstance(named, (list, tuple)) else []
    return " + ".join(path.stem for path in [path for path in paths if path.parent.name != "data"] or paths)


def differing(options: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the options that tell runs apart and are not the same in all, in order of appearance."""
    names = dict.fromkeys(name for own in options for name in own if tells_apart(name))
    return [name for name in names if len({own.get(name, MISSING) for own in options}) > 1]


def follows(option: str, other: Sequence[str], options: Sequence[Mapping[str, str]]) -> bool:
    """Whether an option's value is given by other values, one a run: no run has another with the same."""
    values: dict[str, str] = {}
    return all(
        values.setdefault(other_value, own.get(option, MISSING)) == own.get(option, MISSING)
        for own, other_value in zip(options, other, strict=True)
    )


def short_names(options: Sequence[str]) -> list[str]:
    """Shorten names to their last parts, as far as that tells them apart: `num_bits`, `optimizer.lr`."""
    shortened = []
    for option in options:
        parts = option.split(".")
        for length in range(1, len(parts) + 1):
            name = ".".join(parts[-length:])
            if sum(other == name or other.endswith(f".{name}") for other in options) == 1:
                break
        shortened.append(name)
    return shortened


def natural_key(text: str) -> tuple[object, ...]:
    """Sort numbers by value and before words, words by alphabet."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)", text)
    try:
        return (0, float(text))
    except ValueError:
        return (1, *((0, float(part), "") if index % 2 else (1, 0.0, part) for index, part in enumerate(parts)))


def _flatten(value: object, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        if isinstance(value.get("class_path"), str):
            yield name, value["class_path"].rpartition(".")[2]
            value = {key: inner for key, inner in value.items() if key != "class_path"}
        for key, inner in value.items():
            yield from _flatten(inner, name if key in ("init_args", "dict_kwargs") and name else _join(name, str(key)))
    elif isinstance(value, (list, tuple)) and any(isinstance(inner, Mapping) for inner in value):
        for index, inner in enumerate(value):
            own = inner.get("class_path") if isinstance(inner, Mapping) else None
            yield from _flatten(inner, _join(name, own.rpartition(".")[2] if isinstance(own, str) else str(index)))
    elif isinstance(value, (list, tuple)):
        yield name, ", ".join(option_text(inner) for inner in value)
    else:
        yield name, option_text(value)


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def option_text(value: object) -> str:
    """Write an option's value as the command line takes it."""
    if value is None or isinstance(value, bool):
        return {None: _NULL, True: "true", False: "false"}[value]
    return f"{value:.10g}" if isinstance(value, float) else str(value)
