"""Balanced hash codes by optimal transport: the rival of the flow.

Singh, Demuynck and Arora, Simultaneously learning robust audio embeddings and balanced hash codes for query-by-example
(ICASSP 2023): buckets are clusters whose centroids are the 2^K binary vectors, scaled to unit length; items are shared
out over them evenly by Sinkhorn-Knopp, and the projection learns to predict one view's shares from the other view
(swapped prediction, Caron et al., SwAV, 2020). There the encoder learns along; here a projection of given vectors does.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.codes.base import BinaryHash
from retrieval.codes.buckets import bucket_bits
from retrieval.codes.linear import check_vary
from retrieval.codes.sinkhorn import balanced_assignment, check_sinkhorn

MAX_BITS = 16
# Entries of a plan, items x buckets: 128 MB in float32. A batch has fewer items where buckets are many.
_MAX_PLAN_ENTRIES = 2**25


class OptimalTransportHash(BinaryHash):
    """Project vectors so that they fill the 2^K orthants evenly; a bit is a coordinate's sign.

    With y the projection scaled to unit length and s = 1 / sqrt(K), the centroid of a bucket is c = s (+-1, ..., +-1).
    Targets Q are `balanced_assignment` of y.c over a batch; predictions are softmax(y.c / temperature), and the loss is
    their cross-entropy. Since the softmax over all corners of a cube is a product over its axes, that is the sum over
    bits of binary cross-entropies with the targets' expected bits, and its cost does not grow with 2^K; that of the
    plan does, in memory and time.

    A centroid's cosine is that of a query's own bucket less 2 s |y_k| for each bit k that differs: probing by least
    sums of |y_k| visits centroids in the order of their similarity, without a look at all 2^K, which the paper counts
    as this method's cost.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code, K; at most 16.
        hidden_dim: Units of a hidden layer with ReLU.
        num_steps: Steps of Adam.
        batch_size: Vectors or pairs a step; fewer where 2^K times that exceeds 2^25.
        learning_rate: Of the first step; it falls to zero along a cosine.
        temperature: Of the predictions.
        entropy_weight: Of the plan; at least 0.025.
        num_iterations: Of Sinkhorn-Knopp.
        seed: Seed of the weights and the batches.

    Raises:
        ValueError: If `num_bits` exceeds 16, or another argument is out of range.
    """

    mean: Tensor
    hidden_weight: Tensor
    hidden_bias: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        dim: int,
        num_bits: int,
        hidden_dim: int = 512,
        num_steps: int = 600,
        batch_size: int = 512,
        learning_rate: float = 3e-3,
        temperature: float = 0.1,
        entropy_weight: float = 0.05,
        num_iterations: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__(dim, num_bits)
        if num_bits > MAX_BITS:
            raise ValueError(
                f"A plan over 2^{num_bits} buckets is out of reach: optimal transport takes 1 to {MAX_BITS} bits. Use "
                "a flow, or principal components cut at medians, for more."
            )
        if min(hidden_dim, num_steps, batch_size) < 1 or not (learning_rate > 0 and temperature > 0):
            raise ValueError(
                "Expected a hidden unit, a step and a vector a batch at least, and a positive learning rate and "
                f"temperature; got {hidden_dim}, {num_steps}, {batch_size}, {learning_rate} and {temperature}."
            )
        check_sinkhorn(entropy_weight, num_iterations)
        self.hidden_dim = hidden_dim
        self.num_steps = num_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.temperature = temperature
        self.entropy_weight = entropy_weight
        self.num_iterations = num_iterations
        self.seed = seed
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("hidden_weight", torch.zeros(dim, hidden_dim))
        self.register_buffer("hidden_bias", torch.zeros(hidden_dim))
        self.register_buffer("weight", torch.zeros(hidden_dim, num_bits))
        self.register_buffer("bias", torch.zeros(num_bits))

    @property
    def min_vectors(self) -> int:
        """Two, so that they can differ."""
        return 2

    def fit_pairs(self, vectors: Float[Tensor, "item feature"], distorted: Float[Tensor, "distorted other"]) -> None:
        """Fit on vectors and their distorted versions, so that both predict the other's bucket.

        `fit` takes each vector for its own distorted version: it balances, and learns nothing about distortion.

        Args:
            vectors: At least two.
            distorted: In the same order.

        Raises:
            ValueError: If there are too few vectors, they differ in number or have another size than `dim`, one is not
                finite, or all are the same.
        """
        if len(vectors) != len(distorted):
            raise ValueError(
                f"Expected one distorted version a vector; got {len(distorted)} for {len(vectors)}. Pair them by item."
            )
        self.check_vectors(distorted)
        self._check_enough(vectors)
        self._learn([vectors.detach(), distorted.detach()])
        self._is_fitted.fill_(True)

    def _margins(self, vectors: Float[Tensor, "item feature"]) -> Float[Tensor, "item bit"]:
        """Return the projection y, of unit length."""
        layers = [self.hidden_weight, self.hidden_bias, self.weight, self.bias]
        return _project(vectors.to(self.mean) - self.mean, layers)

    def _fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        self._learn([vectors])

    @torch.inference_mode(False)
    @torch.enable_grad()
    def _learn(self, views: list[Float[Tensor, "item feature"]]) -> None:
        # float32 whatever the coder's precision: the plan is what costs
        mean = views[0].double().mean(dim=0)
        centred = [view.double() - mean for view in views]
        check_vary(mean.cpu().numpy(), float(centred[0].abs().max()))
        deviation = float(centred[0].square().mean().sqrt())
        scaled = [(view / deviation).float() for view in centred]
        device = scaled[0].device
        generator = torch.Generator().manual_seed(self.seed)
        layers = [
            torch.randn(*shape, generator=generator).mul_(scale).to(device).requires_grad_()
            for shape, scale in (
                ((self.dim, self.hidden_dim), (2 / self.dim) ** 0.5),
                ((self.hidden_dim,), 0.0),
                ((self.hidden_dim, self.num_bits), self.hidden_dim**-0.5),
                ((self.num_bits,), 0.0),
            )
        ]
        signs = bucket_bits(torch.arange(2**self.num_bits, device=device), self.num_bits) * 2.0 - 1
        centroids = signs / self.num_bits**0.5
        optimizer = torch.optim.Adam(layers, self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.num_steps)
        num_drawn = min(len(scaled[0]), self.batch_size, _MAX_PLAN_ENTRIES >> self.num_bits)
        for _ in range(self.num_steps):
            drawn = torch.randperm(len(scaled[0]), generator=generator)[:num_drawn].to(device)
            projected = [_project(view[drawn], layers) for view in scaled]
            targets = [self._expected_centroids(each.detach(), centroids) for each in projected]
            # each view learns the other's, or its own where it is the only one
            losses = [
                self._cross_entropy(each, target) for each, target in zip(projected, reversed(targets), strict=True)
            ]
            loss = torch.stack(losses).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        hidden_weight, hidden_bias, weight, bias = (layer.detach() for layer in layers)
        self.mean.copy_(mean)
        self.hidden_weight.copy_(hidden_weight / deviation)
        self.hidden_bias.copy_(hidden_bias)
        self.weight.copy_(weight)
        self.bias.copy_(bias)

    def _expected_centroids(
        self, projected: Float[Tensor, "item bit"], centroids: Float[Tensor, "bucket bit"]
    ) -> Float[Tensor, "item bit"]:
        """Return the mean centroid of each item's shares."""
        plan = balanced_assignment(projected @ centroids.T, self.entropy_weight, self.num_iterations)
        return plan @ centroids

    def _cross_entropy(
        self, projected: Float[Tensor, "item bit"], expected: Float[Tensor, "item bit"]
    ) -> Float[Tensor, ""]:
        """Return the mean of -sum_c Q_c log softmax(y.c / temperature)_c, given sum_c Q_c c.

        The logarithm of the softmax's denominator is sum_k log(2 cosh(s y_k / temperature)).
        """
        logits = projected / self.temperature
        half = logits / self.num_bits**0.5
        log_denominator = torch.logaddexp(half, -half).sum(dim=1)
        return (log_denominator - (logits * expected).sum(dim=1)).mean()


def _project(centred: Float[Tensor, "item feature"], layers: list[Tensor]) -> Float[Tensor, "item bit"]:
    """Run the two layers and scale to unit length."""
    hidden_weight, hidden_bias, weight, bias = layers
    hidden = torch.relu(centred @ hidden_weight + hidden_bias)
    return torch.nn.functional.normalize(hidden @ weight + bias, dim=1)
