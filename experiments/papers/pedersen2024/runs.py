"""What the thesis of Pedersen (2024) compares, and what we add: representations of clips, and the runs they need.

A learned representation is trained once a test fold, on the other folds, so that no query was seen in training.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.command.configs import find_config, read_config
from experiments.grids.cell import Cell
from experiments.papers.data_configs import has_folds

# Of features' variance: 0.0000 to 0.0025 by 0.0001, 26 of them, which the thesis counts as 25.
THRESHOLDS: tuple[float, ...] = tuple(step / 10_000 for step in range(26))


@dataclass(frozen=True)
class VaeModel:
    """A VAE of the study.

    Attributes:
        name: On the command line and in result files.
        label: In tables.
        config: What `train.py fit` takes.
        arguments: Further arguments.
        published: Its name among the thesis's values for search.
        published_linear: Its name among the thesis's values for linear classifiers.
    """

    name: str
    label: str
    config: str
    arguments: tuple[str, ...] = ()
    published: str | None = None
    published_linear: str | None = None


VAES = (
    # the thesis searches by its VAE of 64 latents and classifies by that of 128
    VaeModel("vae_small", "VAE", "vae_small.yaml", (), "vae_64", "vae_128"),
    VaeModel("vae_separable", "VAE, separable convolutions", "vae_separable.yaml"),
    VaeModel("vae_mixture", "VAE, mixture prior", "vae_mixture.yaml"),
    VaeModel("vae_lstm", "VAE, LSTM encoder", "vae_lstm.yaml"),
    *(
        VaeModel(f"vae_{dim}", f"VAE of the thesis's size, {dim} latents", "vae.yaml", (f"--model.latent_dim={dim}",),
                 f"vae_{dim}", f"vae_{dim}")
        for dim in (32, 64, 128, 256)
    ),
)  # fmt: skip
VAE_OF = {model.name: model for model in VAES}
# Representations that nothing is trained for.
GIVEN = {
    "random": "vectors drawn at random",
    "pca": "whitened principal components of the log-mel",
    "log_mel": "statistics of the log-mel over time",
    "yamnet": "YAMNet: mean, deviation, delta, all their combinations, root of the mean",
}
METHODS = {**GIVEN, **{model.name: model.label for model in VAES}}


@dataclass(frozen=True)
class ClipStudy:
    """What is compared on what.

    Attributes:
        data_config: Corpus, one with folds.
        methods: Names in `METHODS`.
        folds: Folds whose clips ask.
        thresholds: Variances below which features are left out, in turn.
        arguments: Further arguments of every run, and options of the data.
        training_arguments: Further arguments of runs that learn.
    """

    data_config: str
    methods: tuple[str, ...]
    folds: tuple[int, ...]
    thresholds: tuple[float, ...]
    arguments: tuple[str, ...] = ()
    training_arguments: tuple[str, ...] = ()

    def cells(self) -> dict[tuple[str, int], Cell]:
        """List the runs by method and test fold.

        Raises:
            ValueError: If the corpus has no folds.
        """
        if not has_folds(self.data_config):
            raise ValueError(
                f"llar asks fold by fold; {self.data_config} has no folds. Take data/esc50.yaml or "
                "data/rendered_events.yaml."
            )
        models = [VAE_OF[name] for name in self.methods if name in VAE_OF]
        return {(model.name, fold): self._cell(model, fold) for model in models for fold in self.folds}

    def _cell(self, model: VaeModel, fold: int) -> Cell:
        arguments = [f"--config={model.config}"]
        if self.data_config != "data/esc50.yaml":  # which the models' own configs have
            config = read_config(find_config(model.config))
            served, heard = config["data"]["init_args"], config["model"]["init_args"]["preprocessing"]
            arguments.append(f"--config={self.data_config}")
            # clips are to be served as the model wants them, whatever the corpus's config says
            arguments += [f"--data.{name}={_as_argument(value)}" for name, value in served.items() if name != "fold"]
            arguments += [f"--model.preprocessing.{name}={_as_argument(value)}" for name, value in heard.items()]
        arguments += ["--trainer.devices=1", f"--data.fold={fold}", *model.arguments, *self.training_arguments]
        return Cell(model.name, "spectrogram", 0, fold, 0, None, (*arguments, *self.arguments), keeps_embeddings=True)


def _as_argument(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def clip_study_of(preset: str) -> ClipStudy:
    """Return what a preset compares.

    `full` has the small VAE on five folds; `paper` its variants and the thesis's sizes too, for a GPU; `quick` two
    folds and a coarse sweep; `smoke` rendered events, no pretrained network and hardly any training.
    """
    given = tuple(GIVEN)
    every_fold = (1, 2, 3, 4, 5)
    if preset == "smoke":
        return ClipStudy(
            "data/rendered_events.yaml", ("random", "pca", "log_mel", "vae_small"), (1, 2), THRESHOLDS[::25],
            ("--data.clips_per_class=20",), ("--trainer.max_epochs=2", "--trainer.check_val_every_n_epoch=1"),
        )  # fmt: skip
    if preset == "quick":
        return ClipStudy("data/esc50.yaml", (*given, "vae_small"), (1, 2), THRESHOLDS[::5])
    vaes: Sequence[str] = list(VAE_OF) if preset == "paper" else ["vae_small"]
    return ClipStudy("data/esc50.yaml", (*given, *vaes), every_fold, THRESHOLDS)
