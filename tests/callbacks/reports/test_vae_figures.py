"""What is drawn of a VAE: reconstructions, traversals, the latent space and the values of pixels."""

import numpy as np
import pytest
import torch
from torch import Tensor

from callbacks.reports.vae_figures import (
    ACTIVE_VARIANCE,
    count_values,
    draw_latent_map,
    draw_latent_use,
    draw_pixel_values,
    draw_reconstructions,
    draw_traversals,
    latent_variances,
    most_varying,
    reconstruct,
    reconstruct_clips,
    traverse,
)
from tests.callbacks.reports.test_vae_report import NUM_BINS, NUM_FRAMES, make_vae


def test_a_reconstruction_is_of_the_posterior_mean() -> None:
    model = make_vae().eval()
    window = torch.randn(3, 8, NUM_BINS)
    with torch.no_grad():
        first = reconstruct(model, window)
        torch.testing.assert_close(first, model.likelihood(model.encode_windows(window)[:, 0]).mean)
        assert torch.equal(first, reconstruct(model, window))


def test_a_clip_is_reconstructed_window_by_window() -> None:
    model = make_vae().eval()
    clips = torch.randn(2, NUM_FRAMES, NUM_BINS)
    with torch.no_grad():
        stitched = reconstruct_clips(model, clips)
        assert stitched.shape == (2, 16, NUM_BINS)
        torch.testing.assert_close(stitched[:, 8:], reconstruct(model, clips[:, 8:16]))


def test_traversed_latents_are_those_that_vary_most_in_order() -> None:
    embedding = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.5, 2.0, 0.01, 1.0])
    variances = latent_variances(embedding)
    assert most_varying(variances, 3) == [1, 3, 0]
    assert most_varying(variances, 9) == [1, 3, 0, 2]
    model = make_vae().eval()
    with torch.no_grad():
        pictures = traverse(model, embedding, [1, 3], [-3.0, 0.0, 3.0])
        centre = embedding.mean(dim=0)
        moved = centre.clone()
        moved[3] -= 3 * embedding[:, 3].std()
        assert pictures.shape == (2, 3, 8, NUM_BINS)
        torch.testing.assert_close(pictures[1, 0], model.likelihood(moved[None]).mean[0])
        for row in (0, 1):
            torch.testing.assert_close(pictures[row, 1], model.likelihood(centre[None]).mean[0])


def test_rows_and_columns_of_traversals_are_labelled() -> None:
    figure = draw_traversals(np.zeros((2, 3, 8, NUM_BINS)), [5, 2], [0.5, 0.25], [-3.0, 0.0, 3.0])
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel().startswith("latent")]
    assert labels == ["latent 5\nSD 0.5", "latent 2\nSD 0.25"]
    assert [axes.get_title() for axes in figure.axes[:3]] == ["-3 SD", "mean", "+3 SD"]


def test_time_goes_right_and_frequency_up_on_one_scale() -> None:
    window = np.zeros((1, 8, NUM_BINS))
    window[0, 7, 2] = 1  # last frame, a low bin
    axes = draw_reconstructions(window, 2 * window, ["dog"]).axes
    pictures = [axes[row].images[0] for row in (0, 1)]
    assert pictures[0].get_clim() == pictures[1].get_clim()
    drawn = np.asarray(pictures[0].get_array())
    assert drawn.shape == (NUM_BINS, 8)
    assert drawn[2, 7] == 1
    bottom, top = axes[0].get_ylim()
    assert bottom < top


@pytest.mark.parametrize("num_pictures", [1, 4, 5, 8])
def test_each_window_is_above_its_reconstruction(num_pictures: int) -> None:
    windows = np.arange(num_pictures, dtype=float)[:, None, None] + np.zeros((1, 8, NUM_BINS))
    names = [f"class {number}" for number in range(num_pictures)]
    figure = draw_reconstructions(windows, windows + 100, names)
    drawn = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    assert list(drawn) == names
    for number, name in enumerate(names):
        (below,) = [
            axes
            for axes in figure.axes
            if axes.images and float(np.asarray(axes.images[0].get_array())[0, 0]) == number + 100
        ]
        place, above = below.get_subplotspec(), drawn[name].get_subplotspec()
        assert place is not None
        assert above is not None
        assert (place.rowspan.start, place.colspan) == (above.rowspan.start + 1, above.colspan)


def test_active_latents_are_counted() -> None:
    deviations = torch.tensor([1.0, 0.2, 0.05, 0.0])
    embedding = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0)) * deviations
    variances = latent_variances(embedding)
    assert int((variances > ACTIVE_VARIANCE).sum()) == 2
    axes = draw_latent_use(variances).axes[0]
    assert axes.get_title() == "2 of 4 latents are active"
    heights = np.asarray(axes.lines[0].get_ydata())
    assert np.all(np.diff(heights) < 0)
    assert heights[-1] > 0  # there is no 0 on a logarithmic axis


def test_one_clip_varies_in_nothing() -> None:
    assert latent_variances(torch.ones(1, 4)).tolist() == [0.0] * 4


def test_the_map_shows_every_clip_by_class_and_superclass() -> None:
    embedding = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([10.0, 1.0, 0.0, 0.0])
    label = torch.arange(60) % 3
    figure = draw_latent_map(embedding, [(label, ["a", "b", "c"]), (label.clamp(max=1), ["x", "y"])])
    for axes, num_groups in zip(figure.axes, (3, 2), strict=True):
        offsets = np.concatenate([np.asarray(points.get_offsets()) for points in axes.collections])
        assert (len(axes.collections), len(offsets)) == (num_groups, 60)
        centred = embedding[:, :2] - embedding[:, :2].mean(dim=0)
        np.testing.assert_allclose(np.sum(offsets**2), float((centred**2).sum()), rtol=1e-4)
    values = torch.linalg.eigvalsh(embedding.T.double().cov())
    assert f"{100 * float(values[-1] / values.sum()):.1f} % of the variance" in figure.axes[0].get_xlabel()


@pytest.mark.parametrize("embedding", [torch.ones(20, 4), torch.randn(1, 4), torch.randn(20, 1)])
def test_a_latent_space_without_a_plane_is_drawn_as_a_point(embedding: Tensor) -> None:
    axes = draw_latent_map(embedding, [(torch.zeros(len(embedding), dtype=torch.long), ["a"])]).axes[0]
    assert float(np.abs(np.asarray(axes.collections[0].get_offsets())).max()) == 0


def test_values_are_counted_over_the_same_bins() -> None:
    inputs = np.random.default_rng(0).standard_normal((3, 8, NUM_BINS)).astype(np.float32)
    histograms = count_values(inputs, 2 * inputs)
    assert histograms.input_counts.sum() == histograms.reconstruction_counts.sum() == inputs.size
    assert histograms.edges[0] == pytest.approx(2 * inputs.min())
    legend = draw_pixel_values(histograms).axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["inputs", "reconstructions"]
