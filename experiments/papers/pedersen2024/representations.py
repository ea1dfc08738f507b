"""The representations of clips that a study compares: each as one matrix a test fold, whose queries it has not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from datamodules import EmbeddingDataModule
from experiments.command.parser import make_datamodule
from experiments.papers.pedersen2024.clip_features import (
    FEATURE_NAMES,
    clip_features,
    log_mel_pictures,
    pca_whitened,
    random_features,
    z_scored,
)
from experiments.papers.pedersen2024.runs import VaeModel
from lightning_modules.frontends import LogMel, LogMelStatistics, YamNet

_FRONTENDS = {
    "pictures": LogMel,
    "log_mel": LogMelStatistics,
    "yamnet": YamNet,
}
_NUM_COMPONENTS = 64
_SYMBOLS = {"mean": "mean", "std": "deviation", "delta": "delta", "sqrt_mean": "root of the mean"}


@dataclass(frozen=True)
class Representation:
    """One way to represent every clip of a corpus.

    Attributes:
        name: In result files.
        label: In tables.
        by_fold: By test fold, [item, dim]; what is fitted or trained has not seen the items of that fold.
        published: Its name among the thesis's values for search.
        published_linear: Its name among the thesis's values for linear classifiers.
    """

    name: str
    label: str
    by_fold: Mapping[int, Float[np.ndarray, "item dim"]]
    published: str | None = None
    published_linear: str | None = None

    @property
    def dim(self) -> int:
        """Size of a vector."""
        return int(next(iter(self.by_fold.values())).shape[1])


@dataclass(frozen=True)
class Corpus:
    """The clips of a study.

    Attributes:
        name: What numbers measured on it are to be called.
        folds: Fold of each item.
        label_sets: Class of each item, by what the classes are: `subclasses` and `superclasses`, or just `classes`.
        class_names: Names of the classes, by the same.
    """

    name: str
    folds: Int[np.ndarray, " item"]
    label_sets: Mapping[str, Int[np.ndarray, " item"]]
    class_names: Mapping[str, Sequence[str]]


def read_corpus(data_config: str, arguments: Sequence[str]) -> Corpus:
    """Read folds and classes.

    Args:
        data_config: Corpus, one with folds.
        arguments: Options of the data, as on the command line.

    Raises:
        DatasetError: If it is missing or damaged.
    """
    data = _data_module(data_config, arguments)
    data.find_corpus()
    labels = np.array([item.label for item in data.items])
    if data.superclass_of is None or data.superclass_names is None:
        label_sets, class_names = {"classes": labels}, {"classes": data.class_names}
    else:
        label_sets = {"subclasses": labels, "superclasses": data.superclass_of[labels]}
        class_names = {"subclasses": data.class_names, "superclasses": data.superclass_names}
    return Corpus(str(data.data_name), np.array([int(item.subset) for item in data.items]), label_sets, class_names)


def given_representations(
    method: str, corpus: Corpus, test_folds: Sequence[int], data_config: str, arguments: Sequence[str]
) -> list[Representation]:
    """Make representations that need no training of ours.

    Args:
        method: Of `experiments.papers.pedersen2024.runs.GIVEN`.
        corpus: Whose clips.
        test_folds: Folds whose clips ask.
        data_config: Corpus.
        arguments: Options of the data.

    Raises:
        DatasetError: If the corpus is missing or damaged.
        WeightsError: If a pretrained network is needed and missing.
    """
    if method == "random":
        drawn = random_features(len(corpus.folds), _NUM_COMPONENTS, seed=0)
        return [Representation("random", "random", dict.fromkeys(test_folds, drawn))]
    fit_rows = {fold: np.flatnonzero(corpus.folds != fold) for fold in test_folds}
    if method == "pca":
        pictures = log_mel_pictures(_clip_frames(data_config, arguments, "pictures"))
        components = min(
            _NUM_COMPONENTS, min(len(rows) for rows in fit_rows.values()) - 1
        )  # centred rows span one less
        whitened = {fold: pca_whitened(pictures, rows, components) for fold, rows in fit_rows.items()}
        return [Representation("pca_whitened", f"PCA-{components} of the log-mel, whitened", whitened)]
    if method == "log_mel":
        statistics = np.concatenate(_clip_frames(data_config, arguments, "log_mel"))
        scored = {fold: z_scored(statistics, rows) for fold, rows in fit_rows.items()}
        return [Representation("log_mel", "log-mel statistics", scored)]
    features = clip_features(_clip_frames(data_config, arguments, "yamnet"))
    return [
        Representation(
            f"yamnet_{name}",
            "YAMNet, " + " + ".join(_SYMBOLS[part] for part in name.split("+")),
            dict.fromkeys(test_folds, features[name]),
            *([None, None] if name == "sqrt_mean" else [f"yamnet_{name}"] * 2),
        )
        for name in FEATURE_NAMES
    ]


def learned_representations(
    model: VaeModel, windows: Mapping[int, Float[np.ndarray, "item window latent"]], corpus: Corpus
) -> list[Representation]:
    """Make representations of the posterior means of a VAE's windows.

    The mean over windows is the thesis's representation. Whitened, each of its principal directions counts alike. With
    deviation, largest and smallest value beside it, each z-scored, it also tells how a clip varies. All that is fitted
    is fitted on the folds that the VAE has learned from.

    Args:
        model: The VAE.
        windows: Posterior means by test fold.
        corpus: Whose clips.
    """
    fit_rows = {fold: np.flatnonzero(corpus.folds != fold) for fold in windows}
    means = {fold: own.mean(axis=1, dtype=np.float64) for fold, own in windows.items()}
    made = [Representation(model.name, f"{model.label}, mean", means, model.published, model.published_linear)]
    num_latents = next(iter(means.values())).shape[1]
    if all(len(rows) > num_latents for rows in fit_rows.values()):
        whitened = {fold: pca_whitened(own, fit_rows[fold], num_latents) for fold, own in means.items()}
        made.append(Representation(f"{model.name}_whitened", f"{model.label}, mean, whitened", whitened))
    if all(own.shape[1] > 1 for own in windows.values()):
        pooled = {fold: z_scored(_spread(own), fit_rows[fold]) for fold, own in windows.items()}
        label = f"{model.label}, mean + deviation + extremes"
        made.append(Representation(f"{model.name}_pooled", label, pooled))
    return made


def _spread(windows: Float[np.ndarray, "item window latent"]) -> Float[np.ndarray, "item statistic"]:
    """Concatenate mean, deviation, largest and smallest value over windows."""
    statistics = [windows.mean(axis=1), windows.std(axis=1), windows.max(axis=1), windows.min(axis=1)]
    return np.concatenate(statistics, axis=1)


def _clip_frames(data_config: str, arguments: Sequence[str], frontend: str) -> list[np.ndarray]:
    data = _data_module(data_config, arguments)
    data.embed_with(_FRONTENDS[frontend]())
    data.prepare_data()
    cache = data.open_cache()
    return [cache.clip_frames(index) for index in range(len(data.items))]


def _data_module(data_config: str, arguments: Sequence[str]) -> EmbeddingDataModule:
    data = make_datamodule(data_config, arguments)
    if not isinstance(data, EmbeddingDataModule):
        raise TypeError(f"Expected an EmbeddingDataModule; {data_config} makes a {type(data).__name__}.")
    return data
