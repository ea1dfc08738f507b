"""Options of runs, flat and by the names that the command line knows, and which of them tell runs apart."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# Where a run's own files and its corpus lie, and how it is shown: no difference between two runs. What else a path
# names is one: other noise (`data.noise.root`), other rooms, other weights.
_NO_DIFFERENCE = frozenset({
    "ckpt_path", "config", "data.cache_dir", "data.corpus.cache_dir", "data.corpus.root", "data.root", "data_name",
    "project", "return_predictions", "run_id", "test_after_fit", "trainer.default_root_dir",
    "trainer.enable_autolog_hparams", "trainer.enable_checkpointing", "trainer.enable_model_summary",
    "trainer.enable_progress_bar", "trainer.log_every_n_steps", "verbose", "weights_only",
})  # fmt: skip
# Objects that watch a run, by the names that their options begin with; `test_run_options` holds the callbacks to it.
_WATCHING = (
    "preemption", "trainer.logger", "trainer.profiler",
    *(f"trainer.callbacks.{name}" for name in (
        "CheckpointArtifact", "CodeExport", "EpochSeconds", "FinalCheckpoint", "FingerprintExport",
        "FingerprintReport", "ModelCheckpoint", "PresenceReport", "RetrievalReport", "RichProgressBar",
        "TQDMProgressBar", "VaeReport",
    )),
)  # fmt: skip
RUN_VARIABLE = "EARMARK_RUN"  # names a run
RESUME = "resume"  # as --ckpt_path: the run's own newest
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
    name = option.rpartition(".")[2]
    return name in ("seed", "seed_everything") or name.endswith("_seed")


def is_fold(option: str) -> bool:
    """Whether it is the fold of a cross-validation."""
    return option.rpartition(".")[2] == "fold"


def tells_apart(option: str) -> bool:
    """Whether runs that differ in it are not repetitions of one another."""
    watches = any(option == name or option.startswith(f"{name}.") for name in _WATCHING)
    return not (watches or option in _NO_DIFFERENCE or is_seed(option) or is_fold(option))


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
