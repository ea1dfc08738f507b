"""Report what a VAE learned: pictures of what it decodes, its latent space, and sound, as files and in W&B.

Reconstructions are the likelihood's mean at the posterior's mean, so nothing but the samples of the prior is random.
"""

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pytorch_lightning as pl
import soundfile
import torch
import wandb
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from callbacks.protocols import (
    Corpus,
    HasRoles,
    HasSuperclasses,
    InvertibleFrontEnd,
)
from callbacks.reports.report import Findings, Report
from callbacks.reports.spread import spread_over_classes
from callbacks.reports.vae_figures import (
    ValueHistograms,
    count_values,
    draw_latent_map,
    draw_latent_use,
    draw_pixel_values,
    draw_reconstructions,
    draw_samples,
    draw_traversals,
    latent_variances,
    most_varying,
    reconstruct,
    reconstruct_clips,
    traverse,
)
from callbacks.role_batches import fetch_batch
from lightning_modules.vae import Vae
from retrieval.outputs import RetrievalOutputs
from storage.atomic import write_file

_logger = logging.getLogger(__name__)

_NUM_STEPS = 7  # of a traversal
_NUM_MEASURED = 64  # clips whose values are counted
_CLIPS_AT_ONCE = 8
_PEAK = 0.5


@dataclass(frozen=True)
class Recording:
    """A sound file of the report.

    Attributes:
        path: Where it lies.
        caption: Class, and whether it is the input or the reconstruction.
    """

    path: Path
    caption: str


class VaeReport(Report):
    """After a test, show what a variational autoencoder learned.

    Writes into `<run folder>/report`, and logs to W&B where that is a logger:

        reconstructions.png   first windows of test queries, spread over the classes, and their reconstructions
        traversals.png        what is decoded around the mean of all clips as one latent after the other moves
        prior_samples.png     what is decoded from samples of the prior
        latent_map.png        the database by the first two principal components of its latents, coloured by class,
                              and by superclass where there are any
        pixel_values.png      how often values occur in test queries and in their reconstructions
        latent_use.png        how much each latent varies over the database, and how many are active
        audio/                `<clip>-input.wav` and `<clip>-reconstruction.wav`: test queries, decoded window after
                              window, without the frames left over at the end. Both are what the front end's `invert`
                              makes of a spectrogram, at a peak of 0.5; they don't compare in level. A front end
                              without `invert` gives no audio, which the log says.

    Args:
        num_pictures: Windows beside their reconstructions.
        num_traversed: Latents that are moved: those that vary most over clips.
        traversal_range: How far on either side of the mean, in a latent's standard deviations over clips.
        num_samples: Samples of the prior.
        num_heard: Clips to listen to; may be 0.
        seed: Of the samples of the prior, and of the phase that sound starts from.

    Raises:
        ValueError: If there is nothing to draw.
    """

    model_class = Vae

    def __init__(
        self,
        num_pictures: int = 8,
        num_traversed: int = 6,
        traversal_range: float = 3.0,
        num_samples: int = 8,
        num_heard: int = 4,
        seed: int = 0,
    ) -> None:
        if min(num_pictures, num_traversed, num_samples) < 1 or num_heard < 0 or traversal_range <= 0:
            raise ValueError(
                "Expected num_pictures, num_traversed and num_samples of at least 1, num_heard of at least 0 and "
                f"traversal_range above 0; got {num_pictures}, {num_traversed}, {num_samples}, {num_heard} and "
                f"{traversal_range}. Leave them out for the defaults."
            )
        self.num_pictures = num_pictures
        self.num_traversed = num_traversed
        self.traversal_range = traversal_range
        self.num_samples = num_samples
        self.num_heard = num_heard
        self.seed = seed
        self._recordings: list[Recording] = []
        self._histograms: ValueHistograms

    def find(self, trainer: pl.Trainer, pl_module: pl.LightningModule, folder: Path) -> Findings:
        """Decode, draw, and write sound."""
        model = cast(Vae, pl_module)
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        if model.retrieval_outputs is None:
            raise RuntimeError("The model left no retrieval_outputs; its on_test_epoch_end has to.")
        outputs = model.retrieval_outputs
        self._histograms = self._count_values(model, outputs, datamodule)
        figures = self._draw(model, outputs, datamodule) | {"pixel_values": draw_pixel_values(self._histograms)}
        self._recordings = self._write_audio(folder / "audio", model, outputs, datamodule)
        return Findings(cast(Corpus, datamodule).data_name, figures=figures)

    def media(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, object]:
        """Return histograms of values, and recordings to listen to."""
        edges = self._histograms.edges.tolist()
        counts = {"input": self._histograms.input_counts, "reconstruction": self._histograms.reconstruction_counts}
        shown: dict[str, object] = {
            f"report/{role}_values": wandb.Histogram(np_histogram=(in_bins.tolist(), edges))
            for role, in_bins in counts.items()
        }
        if self._recordings:
            shown["report/reconstructed_audio"] = [
                wandb.Audio(str(recording.path), caption=recording.caption) for recording in self._recordings
            ]
        return shown

    def _count_values(self, model: Vae, outputs: RetrievalOutputs, datamodule: HasRoles) -> ValueHistograms:
        clips = _fetch_spread(datamodule, outputs.queries.label, _NUM_MEASURED, model)["feature"]
        reconstructions = torch.cat([reconstruct_clips(model, part) for part in clips.split(_CLIPS_AT_ONCE)])
        inputs = clips[:, : reconstructions.shape[1]]
        return count_values(inputs.cpu().numpy(), reconstructions.cpu().numpy())

    def _draw(self, model: Vae, outputs: RetrievalOutputs, datamodule: HasRoles) -> dict[str, Figure]:
        corpus = cast(Corpus, datamodule)
        embedding = outputs.items.embedding.to(model.device)
        variances = latent_variances(embedding)
        batch = _fetch_spread(datamodule, outputs.queries.label, self.num_pictures, model)
        inputs = model.windows(batch["feature"])[:, 0]
        latents = most_varying(variances, self.num_traversed)
        steps = np.linspace(-self.traversal_range, self.traversal_range, _NUM_STEPS).tolist()
        generator = torch.Generator(model.device).manual_seed(self.seed)
        samples = model.prior.sample(self.num_samples, generator)
        return {
            "reconstructions": draw_reconstructions(
                inputs.cpu().numpy(),
                reconstruct(model, inputs).cpu().numpy(),
                [corpus.class_names[label] for label in batch["label"].tolist()],
            ),
            "traversals": draw_traversals(
                traverse(model, embedding, latents, steps).cpu().numpy(),
                latents, variances[latents].sqrt().tolist(), steps,
            ),
            "prior_samples": draw_samples(model.likelihood(samples).mean.cpu().numpy()),
            "latent_map": draw_latent_map(embedding, _colourings(outputs.items.label, corpus)),
            "latent_use": draw_latent_use(variances),
        }  # fmt: skip

    def _write_audio(
        self, folder: Path, model: Vae, outputs: RetrievalOutputs, datamodule: HasRoles
    ) -> list[Recording]:
        """Write clips and reconstructions, both inverted, where the front end allows it."""
        if self.num_heard == 0:
            return []
        preprocessing = model.preprocessing
        frontend = preprocessing.frontend
        if not isinstance(frontend, InvertibleFrontEnd):
            _logger.info("No audio of reconstructions: %s has no invert.", type(frontend).__name__)
            return []
        corpus = cast(Corpus, datamodule)
        batch = _fetch_spread(datamodule, outputs.queries.label, self.num_heard, model)
        reconstructions = reconstruct_clips(model, batch["feature"])
        inputs = batch["feature"][:, : reconstructions.shape[1]]
        names = [corpus.class_names[label] for label in batch["label"].tolist()]
        recordings = []
        for position, stem in enumerate(_distinct_stems(batch["item_index"], corpus)):
            for role, feature in (("input", inputs), ("reconstruction", reconstructions)):
                waveform = self._to_sound(preprocessing.restore(feature[position : position + 1]), frontend)
                path = folder / f"{stem}-{role}.wav"
                write_wav(path, waveform, frontend.sample_rate_hz)
                recordings.append(Recording(path, f"{names[position]}: {role}"))
        return recordings

    def _to_sound(
        self, feature: Float[Tensor, "1 frame feature"], frontend: InvertibleFrontEnd
    ) -> Float[Tensor, " time"]:
        """Invert one clip; on the CPU, where the seed of its phase can be set and put back."""
        frontend.to(torch.device("cpu"))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            waveform: Float[Tensor, "1 time"] = frontend.invert(feature.cpu())
        return waveform[0]


def write_wav(path: Path, waveform: Float[Tensor, " time"], sample_rate_hz: int) -> None:
    """Write 16-bit sound at a peak of 0.5; silence stays silence.

    The level is lost where clips were centred, and would be too low or too high to hear.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    peak = float(waveform.abs().max())
    samples = (waveform * (_PEAK / peak if peak > 0 else 1.0)).cpu().numpy()
    content = io.BytesIO()
    soundfile.write(content, samples, sample_rate_hz, format="WAV", subtype="PCM_16")
    write_file(path, lambda file: file.write(content.getbuffer()))


def _fetch_spread(datamodule: HasRoles, label: Int[Tensor, " query"], num_wanted: int, model: Vae) -> dict[str, Tensor]:
    """Return a batch of test queries, spread over the classes; they are in the order of `label`."""
    queries = datamodule.role_dataset("query")
    return fetch_batch(model, queries, spread_over_classes(label, num_wanted))


def _colourings(label: Int[Tensor, " item"], corpus: Corpus) -> list[tuple[Tensor, Sequence[str]]]:
    colourings: list[tuple[Tensor, Sequence[str]]] = [(label, corpus.class_names)]
    if isinstance(corpus, HasSuperclasses) and corpus.superclass_of is not None and corpus.superclass_names is not None:
        colourings.append((torch.from_numpy(corpus.superclass_of)[label.cpu()], corpus.superclass_names))
    return colourings


def _distinct_stems(item_index: Int[Tensor, " item"], corpus: Corpus) -> list[str]:
    """Return the file name of each clip without its ending; with its index where folders repeat a name."""
    indices = item_index.tolist()
    stems = [Path(corpus.items[index].name).stem for index in indices]
    if len(set(stems)) == len(stems):
        return stems
    return [f"{stem}-{index}" for stem, index in zip(stems, indices, strict=True)]
