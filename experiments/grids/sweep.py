"""Grids over any options of any config: what is varied, and the runs that it takes."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.command.options import read_command_options
from experiments.command.run_options import is_seed, option_text
from experiments.grids.cell import Cell


@dataclass(frozen=True)
class Sweep:
    """What is varied.

    Attributes:
        configs: Of `train.py`, layered.
        over: Values by option, such as `model.num_bits`; every combination is run.
        seeds: Seeds of labels, weights and codes.
        folds: Folds whose clips ask; none leaves the config's.
        arguments: Further arguments of every run.
        varies_labels: Whether a seed also draws which clips are labelled.
    """

    configs: tuple[str, ...]
    over: Mapping[str, tuple[str, ...]]
    seeds: tuple[int, ...] = (0,)
    folds: tuple[int, ...] = ()
    arguments: tuple[str, ...] = ()
    varies_labels: bool = True

    def cells(self) -> list[Cell]:
        """List the runs.

        Raises:
            ConfigNotFound: If there is no such config.
            ValueError: If an option or a value is refused.
        """
        base = [f"--config={name}" for name in self.configs]
        # one process, and no validation, whose loaders would draw from the generator that training draws from
        base += ["--trainer.devices=1", "--trainer.limit_val_batches=0"]
        self._check(base)
        seeded = seed_options(read_command_options([*base, *self.arguments]), labels=self.varies_labels)
        return [
            self._cell(base, dict(zip(self.over, values, strict=True)), fold, seed, seeded)
            for values in itertools.product(*self.over.values())
            for fold in self.folds or (0,)
            for seed in self.seeds
        ]

    def _check(self, base: Sequence[str]) -> None:
        """Refuse an option that the configs don't have, before anything is run."""
        for option, values in self.over.items():
            for value in values:
                read_command_options([*base, *self.arguments, f"--{option}={value}"])

    def _cell(
        self, base: Sequence[str], values: Mapping[str, str], fold: int, seed: int, seeded: Sequence[str]
    ) -> Cell:
        arguments = [*base, *(f"--{name}={seed}" for name in seeded)]
        if fold:
            arguments.append(f"--data.fold={fold}")
        arguments += [*self.arguments, *(f"--{option}={value}" for option, value in values.items())]
        bits = next((value for option, value in values.items() if option.endswith("num_bits")), "0")
        method, corpus = Path(self.configs[0]).stem, Path(self.configs[-1]).stem
        return Cell(method, corpus, int(bits), fold, seed, None, tuple(arguments))


def seed_options(options: Iterable[str], *, labels: bool) -> list[str]:
    """Return the options that a seed sets: of weights and codes, and of labels if asked; not of the corpus itself."""
    places = ("seed_everything", "model.", *(("data.label_",) if labels else ()))
    return [name for name in options if is_seed(name) and name.startswith(places)]


def read_sweep_file(path: Path) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Read a W&B sweep file that lists values.

    Args:
        path: The file.

    Returns:
        Configs in its command, and values by option.

    Raises:
        ValueError: If it is not one of a grid of `train.py fit`.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        command = [str(part) for part in tree["command"]]
        parameters: dict[str, Any] = dict(tree["parameters"])
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: expected a W&B sweep file with command and parameters; found {error!r}.") from error
    configs = tuple(second for first, second in itertools.pairwise(command) if first == "--config")
    over: dict[str, tuple[str, ...]] = {}
    for option, given in parameters.items():
        values = given.get("values", [given["value"]] if "value" in given else None)
        if not values:
            raise ValueError(
                f"{path}: expected values of {option}; found {given}. A grid needs a list; give --over {option}=A,B,C, "
                "or leave such a sweep to `wandb sweep`."
            )
        over[option] = tuple(option_text(value) for value in values)
    if not configs:
        raise ValueError(f"{path}: expected --config NAME in its command; found {command}.")
    return configs, over
