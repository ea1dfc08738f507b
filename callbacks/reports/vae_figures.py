"""What a VAE decodes, and figures of it: pictures of windows, a map of the latent space, values, use of the latents.

A picture is a window of a spectrogram, [frame, feature]: time goes to the right in frames, frequency up in bins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from sklearn.decomposition import PCA
from torch import Tensor

from lightning_modules.vae import Vae

# A latent dimension is active if its mean varies more than that over the clips (Burda et al., Importance weighted
# autoencoders, 2016); as in lightning_modules/vae.py.
ACTIVE_VARIANCE = 0.01

_MAX_COLUMNS = 4
_MAX_MAPPED = 2000
_NUM_BINS = 100
_SMALLEST_VARIANCE = 1e-8  # a logarithmic axis has no 0

Pictures = Float[np.ndarray, "picture frame feature"]


@dataclass(frozen=True)
class ValueHistograms:
    """How often values occur in windows and in their reconstructions, over the same bins.

    Attributes:
        edges: Of the bins, ascending.
        input_counts: Values of the windows in each bin.
        reconstruction_counts: Values of the reconstructions in each bin.
    """

    edges: Float[np.ndarray, " edge"]
    input_counts: Int[np.ndarray, " bin"]
    reconstruction_counts: Int[np.ndarray, " bin"]


def reconstruct(model: Vae, window: Float[Tensor, "batch frame feature"]) -> Float[Tensor, "batch frame feature"]:
    """Return the likelihood's mean at the posterior's mean."""
    return model.likelihood(model.posterior(window).mean).mean


def reconstruct_clips(model: Vae, feature: Float[Tensor, "batch frame feature"]) -> Float[Tensor, "batch kept feature"]:
    """Reconstruct clips window after window, without overlap; the frames after the last whole window are dropped."""
    window_frames = model.windows(feature[:1]).shape[2]
    num_windows = feature.shape[1] // window_frames
    windows = feature[:, : num_windows * window_frames].unflatten(1, (num_windows, window_frames))
    reconstructions = reconstruct(model, windows.flatten(0, 1))
    stitched: Tensor = reconstructions.unflatten(0, (len(feature), num_windows)).flatten(1, 2)
    return stitched


def count_values(inputs: Pictures, reconstructions: Pictures) -> ValueHistograms:
    """Count the values of windows and reconstructions."""
    low = min(inputs.min(), reconstructions.min())
    high = max(inputs.max(), reconstructions.max())
    edges = np.histogram_bin_edges(np.array([low, high], np.float64), _NUM_BINS)
    return ValueHistograms(edges, np.histogram(inputs, edges)[0], np.histogram(reconstructions, edges)[0])


def latent_variances(embedding: Float[Tensor, "item latent"]) -> Float[Tensor, " latent"]:
    """Return the variance of each latent over clips; 0 where there is one clip."""
    return embedding.var(dim=0) if len(embedding) > 1 else torch.zeros_like(embedding[0])


def most_varying(variances: Float[Tensor, " latent"], num_wanted: int) -> list[int]:
    """Return the latents that vary most, the most first."""
    indices: list[int] = variances.argsort(descending=True, stable=True)[:num_wanted].tolist()
    return indices


def traverse(
    model: Vae, embedding: Float[Tensor, "item latent"], latents: Sequence[int], steps: Sequence[float]
) -> Float[Tensor, "row step frame feature"]:
    """Decode the mean of clips with one latent after the other moved.

    Args:
        model: Decodes.
        embedding: Mean of each clip's latents.
        latents: Which to move, a row each.
        steps: Where to, in the latent's standard deviations over clips from the mean.
    """
    mean, deviation = embedding.mean(dim=0), latent_variances(embedding).sqrt()
    moved = mean.repeat(len(latents), len(steps), 1)
    for row, latent in enumerate(latents):
        moved[row, :, latent] += deviation[latent] * torch.tensor(steps, device=mean.device, dtype=mean.dtype)
    decoded = model.likelihood(moved.flatten(0, 1)).mean
    pictures: Tensor = decoded.unflatten(0, (len(latents), len(steps)))
    return pictures


def draw_reconstructions(inputs: Pictures, reconstructions: Pictures, names: Sequence[str]) -> Figure:
    """Draw each window above its reconstruction, all on the colour scale of the windows."""
    num_columns = min(len(inputs), _MAX_COLUMNS)
    num_pairs = -(-len(inputs) // num_columns)
    figure, axes = _picture_grid(2 * num_pairs, num_columns)
    limits = _colour_limits(inputs)
    for position, name in enumerate(names):
        row, column = 2 * (position // num_columns), position % num_columns
        _show(axes[row, column], inputs[position], limits)
        image = _show(axes[row + 1, column], reconstructions[position], limits)
        axes[row, column].set_title(name, fontsize=8)
    for position in range(len(inputs), num_pairs * num_columns):
        for unused in axes[-2:, position % num_columns]:
            unused.set_axis_off()
    for row, label in enumerate(("input", "reconstruction") * num_pairs):
        axes[row, 0].set_ylabel(label, fontsize=8)
    _label_pictures(figure, axes, image)
    return figure


def draw_traversals(
    pictures: Float[np.ndarray, "row step frame feature"],
    latents: Sequence[int],
    deviations: Sequence[float],
    steps: Sequence[float],
) -> Figure:
    """Draw what is decoded as one latent after the other moves.

    Args:
        pictures: A row a latent, a column a step.
        latents: Which latents, in the order of the rows.
        deviations: Standard deviation of each over clips.
        steps: Distances from the mean over clips, in these deviations.
    """
    figure, axes = _picture_grid(len(latents), len(steps), width=1.5)
    limits = _colour_limits(pictures)
    for row, (latent, deviation) in enumerate(zip(latents, deviations, strict=True)):
        for column in range(len(steps)):
            image = _show(axes[row, column], pictures[row, column], limits)
        axes[row, 0].set_ylabel(f"latent {latent}\nSD {deviation:.2g}", fontsize=8)
    for column, step in enumerate(steps):
        axes[0, column].set_title("mean" if step == 0 else f"{step:+g} SD", fontsize=8)
    _label_pictures(figure, axes, image)
    return figure


def draw_samples(pictures: Pictures) -> Figure:
    """Draw what is decoded from samples of the prior."""
    num_columns = min(len(pictures), _MAX_COLUMNS)
    figure, axes = _picture_grid(-(-len(pictures) // num_columns), num_columns)
    limits = _colour_limits(pictures)
    for picture, place in zip(pictures, axes.flat, strict=False):
        image = _show(place, picture, limits)
    for unused in axes.flat[len(pictures) :]:
        unused.set_axis_off()
    _label_pictures(figure, axes, image)
    return figure


def draw_latent_map(
    embedding: Float[Tensor, "item latent"], colourings: Sequence[tuple[Int[Tensor, " item"], Sequence[str]]]
) -> Figure:
    """Draw the clips by the first two principal components of their latents, once for each way to colour them.

    Args:
        embedding: Mean of each clip's latents.
        colourings: A group of each clip and the groups' names: classes, superclasses.
    """
    plane, explained = _principal_plane(embedding.double().cpu().numpy())
    kept = np.linspace(0, len(plane) - 1, min(len(plane), _MAX_MAPPED)).astype(int)
    figure = Figure(figsize=(8 * len(colourings), 5), layout="constrained")
    panels = figure.subfigures(1, len(colourings), squeeze=False)[0]
    for panel, (group, names) in zip(panels, colourings, strict=True):
        axes = panel.add_subplot()
        groups = group.cpu().numpy()[kept]
        colours = mpl.colormaps["nipy_spectral"](np.linspace(0.03, 0.97, len(names)))
        for number, name in enumerate(names):
            rows = kept[groups == number]
            axes.scatter(plane[rows, 0], plane[rows, 1], s=10, color=[colours[number]], linewidths=0, label=name)
        axes.set_xlabel(f"first principal component, {100 * explained[0]:.1f} % of the variance")
        axes.set_ylabel(f"second principal component, {100 * explained[1]:.1f} %")
        panel.legend(loc="outside right upper", ncols=1 + len(names) // 26, fontsize=6, markerscale=1.5)
    return figure


def draw_pixel_values(histograms: ValueHistograms) -> Figure:
    """Draw the distribution of values, figures 5.1 and 5.2 of Pedersen (2024) in one."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    named: Mapping[str, np.ndarray] = {
        "inputs": histograms.input_counts,
        "reconstructions": histograms.reconstruction_counts,
    }
    for name, counts in named.items():
        axes.stairs(100 * counts / counts.sum(), histograms.edges, fill=True, alpha=0.5, label=name)
    # logarithmic: silence is many equal values, beside which the rest would not be seen
    axes.set(yscale="log", xlabel="value of a bin, as the model sees it", ylabel="share of the values in %")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def draw_latent_use(variances: Float[Tensor, " latent"]) -> Figure:
    """Draw how much each latent's mean varies over clips, the most first."""
    ordered = variances.double().sort(descending=True).values.cpu().numpy()
    num_active = int((ordered > ACTIVE_VARIANCE).sum())
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    ranks = np.arange(1, len(ordered) + 1)
    axes.plot(ranks, np.maximum(ordered, _SMALLEST_VARIANCE), marker="o", ms=3, label="variance of a latent's mean")
    axes.axhline(ACTIVE_VARIANCE, color="black", linestyle="--", label=f"active above {ACTIVE_VARIANCE:g}")
    axes.set(yscale="log", xlabel="latents, sorted", ylabel="variance over clips")
    axes.set_title(f"{num_active} of {len(ordered)} latents are active")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _principal_plane(
    embedding: Float[np.ndarray, "item latent"],
) -> tuple[Float[np.ndarray, "item 2"], Float[np.ndarray, "2"]]:
    """Return coordinates on the first two principal components, and their shares of the variance."""
    if min(embedding.shape) < 2 or float(embedding.var(axis=0).sum()) == 0:
        return np.zeros((len(embedding), 2)), np.zeros(2)
    components = PCA(2, random_state=0)
    plane = np.asarray(components.fit_transform(embedding))
    return plane, np.asarray(components.explained_variance_ratio_)


def _picture_grid(num_rows: int, num_columns: int, width: float = 2.4) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(width * num_columns + 1.4, 1.5 * num_rows + 0.8), layout="constrained")
    axes: np.ndarray = figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False)
    return figure, axes


def _show(axes: Axes, picture: Float[np.ndarray, "frame feature"], limits: tuple[float, float]) -> AxesImage:
    axes.tick_params(labelsize=6)
    low, high = limits
    return axes.imshow(picture.T, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high)


def _colour_limits(pictures: Float[np.ndarray, "*picture frame feature"]) -> tuple[float, float]:
    """Return limits that a few outliers don't stretch."""
    low, high = np.percentile(pictures, [0.5, 99.5])
    return float(low), float(max(high, low + 1e-6))


def _label_pictures(figure: Figure, axes: np.ndarray, image: AxesImage) -> None:
    figure.supxlabel("time in frames", fontsize=9)
    figure.supylabel("frequency in bins", fontsize=9)
    bar = figure.colorbar(image, ax=axes, label="value, as the model sees it", aspect=30)
    bar.ax.tick_params(labelsize=7)
