"""What a FlowHash study measures beside searches: balance, marginals, closeness, widths, false alarms, toys.

FlowHash (2024), section 4.6, table 5 and figures 2 to 5. Results are plain values, so that they can be kept as JSON.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from experiments.papers.singh2024.fingerprints import Columns
from experiments.papers.singh2024.hashes import StudyHash
from experiments.papers.singh2024.search import Database, exactly, hits_of, locate
from experiments.papers.singh2024.toy_densities import Toy, make_toy
from lightning_modules.losses import negative_log_likelihood
from lightning_modules.networks import BalancedFlow
from retrieval.index import NoMatch
from retrieval.metrics import bucket_counts, bucket_density, bucket_entropy, share_near_uniform

# Of |z - z+|; section 4.6.
CLOSE = 0.5
_DENSITY_STEP = 0.25
_Z_EDGES = torch.linspace(-6, 6, 121)
_DIFFERENCE_EDGES = torch.linspace(0, 6, 61)
_TOY_POINTS = 4000
_MAX_COUNTED_QUERIES = 100
_MAX_BALANCE_BITS = 24


@dataclass(frozen=True)
class Balance:
    """How evenly a hash fills its buckets with the database.

    Attributes:
        method: In `singh2024.HASHES`.
        num_bits: K.
        entropy: Of an item's bucket, in bits.
        near_uniform: Share of buckets within a factor 2 of N / 2^K.
        empty: Share of buckets without an item.
        edges: Of the histogram of rho_k.
        counts: Buckets by rho_k; those at infinity are left out.
    """

    method: str
    num_bits: int
    entropy: float
    near_uniform: float
    empty: float
    edges: list[float]
    counts: list[int]


@dataclass(frozen=True)
class Marginals:
    """Histograms of z over the database, one a dimension.

    Attributes:
        method: In `singh2024.HASHES`.
        num_bits: K.
        edges: Of the bins.
        densities: By dimension, then bin; they integrate to at most 1, the rest lies outside.
        set_share: Share of items with z_k > 0, by dimension.
    """

    method: str
    num_bits: int
    edges: list[float]
    densities: list[list[float]]
    set_share: list[float]


@dataclass(frozen=True)
class Closeness:
    """How far queries lie from the items that they are of.

    Attributes:
        method: In `singh2024.HASHES`.
        num_bits: K.
        close: Share of coordinates with |z - z+| < 0.5.
        bit_agreement: Share of equal bits.
        deviation: Standard deviation of z over the database, by which differences are to be judged.
        edges: Of the histogram of |z - z+|.
        shares: By bin; the last holds all that is beyond it as well.
    """

    method: str
    num_bits: int
    close: float
    bit_agreement: float
    deviation: float
    edges: list[float]
    shares: list[float]


@dataclass(frozen=True)
class WidthResult:
    """What widths reach, table 5.

    Attributes:
        placed_width: r.
        probed_width: r~.
        found: Share of queries whose candidates hold their best match, by condition.
        evaluated_percent: Share of the database that a query at 10 dB is compared with, mean.
    """

    placed_width: float
    probed_width: float
    found: dict[str, float]
    evaluated_percent: float


@dataclass(frozen=True)
class FalseAlarms:
    """What the threshold of `NoMatch` lets through.

    Attributes:
        encoder: In `singh2024.ENCODERS`.
        seconds: Length of the queries.
        alpha: Rate asked for.
        num_calibrated: Absent queries that it is set by.
        num_absent: Further absent queries, of other tracks.
        num_alarms: Of these, answered nevertheless.
        num_present: Queries of tracks that are in the index.
        num_right: Of these, answered within 50 ms.
        num_wrong: Of these, answered otherwise.
        num_right_without: Found within 50 ms if every query is answered.
    """

    encoder: str
    seconds: float
    alpha: float
    num_calibrated: int
    num_absent: int
    num_alarms: int
    num_present: int
    num_right: int
    num_wrong: int
    num_right_without: int


def measure_balance(hashed: StudyHash, database: Database) -> Balance:
    """Count the items of every bucket."""
    counts = bucket_counts(hashed.encode(database.vectors))
    density = bucket_density(counts)
    edges = torch.arange(0, hashed.num_bits + 8, _DENSITY_STEP).double()
    histogram = torch.histogram(density[density.isfinite()], edges)
    return Balance(
        hashed.name, hashed.num_bits, bucket_entropy(counts), share_near_uniform(counts),
        float((counts == 0).double().mean()), edges.tolist(), histogram.hist.long().tolist(),
    )  # fmt: skip


def measure_marginals(hashed: StudyHash, database: Database) -> Marginals:
    """Draw up the histogram of each z_k."""
    z = hashed.project(database.vectors)
    width = float(_Z_EDGES[1] - _Z_EDGES[0])
    densities = [(torch.histogram(column.contiguous(), _Z_EDGES).hist / (len(z) * width)).tolist() for column in z.T]
    return Marginals(hashed.name, hashed.num_bits, _Z_EDGES.tolist(), densities, (z > 0).float().mean(dim=0).tolist())


def measure_closeness(hashed: StudyHash, queries: Columns, database: Database) -> Closeness:
    """Compare z of queries with that of the items that start nearest to them."""
    z = hashed.project(_first_segments(queries))
    items_z = hashed.project(database.vectors)
    other = items_z[_best_matches(queries, database)]
    difference = (z - other).abs().flatten()
    histogram = torch.histogram(difference.clamp(max=float(_DIFFERENCE_EDGES[-1])), _DIFFERENCE_EDGES).hist
    return Closeness(
        hashed.name, hashed.num_bits, float((difference < CLOSE).float().mean()),
        float(((z > 0) == (other > 0)).float().mean()), float(items_z.std(dim=0).mean()),
        _DIFFERENCE_EDGES.tolist(), (histogram / len(difference)).tolist(),
    )  # fmt: skip


def measure_widths(
    hashed: StudyHash, queries: Columns, database: Database, pairs: Sequence[tuple[float, float]],
    conditions: Sequence[str], counted: str,
) -> list[WidthResult]:  # fmt: skip
    """Say how often candidates hold the best match, which is the item that starts nearest to the query.

    Codes within r of an item and within r~ of a query share one where every bit agrees or may be flipped by either.

    Args:
        hashed: With margins.
        queries: Of one segment.
        database: Where they are looked for.
        pairs: r and r~.
        conditions: Names.
        counted: Condition on which candidates are counted, over some queries.
    """
    z, items_z = hashed.project(_first_segments(queries)), hashed.project(database.vectors)
    best = items_z[_best_matches(queries, database)]
    condition = torch.from_numpy(np.array(queries["condition"]))
    asked = z[condition == list(conditions).index(counted)][:_MAX_COUNTED_QUERIES]
    results = []
    for placed, probed in pairs:
        is_met = _meets(best, z, placed, probed)
        found = {name: float(is_met[condition == number].float().mean()) for number, name in enumerate(conditions)}
        num_met = [int(_meets(items_z, query[None], placed, probed).sum()) for query in asked]
        results.append(WidthResult(placed, probed, found, 100 * float(np.mean(num_met)) / len(items_z)))
    return results


def measure_false_alarms(
    encoder: str, queries: Columns, database: Database, seconds: float, alpha: float, seed: int = 0
) -> FalseAlarms | None:
    """Leave out half of the tracks that are asked for; set the threshold by half of these, try it on the others.

    Returns:
        None where too few queries are left to set it by.
    """
    tracks = np.random.default_rng(seed).permutation(np.unique(queries["track"]))
    absent = tracks[: -(-len(tracks) // 2)]
    calibration = absent[: len(absent) // 2]
    rest = database.without(absent)
    place, score, _ = locate(queries, rest, exactly(rest))
    is_absent, calibrates = (torch.from_numpy(np.isin(queries["track"], own)) for own in (absent, calibration))
    score = score.clamp(min=-1)  # a query that finds no place whatever
    if int(calibrates.sum()) < np.ceil(1 / alpha) - 1:
        return None
    num_segments = queries["fingerprint"].shape[1]
    threshold = NoMatch({num_segments: score[calibrates].numpy()}, len(rest.track), alpha)
    is_answered = torch.from_numpy(threshold.is_match(score.numpy(), np.full(len(score), num_segments)))
    is_right = hits_of(place, queries, rest)[0]
    tried = is_absent & ~calibrates
    return FalseAlarms(
        encoder, seconds, alpha, int(calibrates.sum()), int(tried.sum()), int((is_answered & tried).sum()),
        int((~is_absent).sum()), int((is_answered & is_right & ~is_absent).sum()),
        int((is_answered & ~is_right & ~is_absent).sum()), int((is_right & ~is_absent).sum()),
    )  # fmt: skip


def train_toy(name: Toy, num_steps: int, seed: int = 0) -> tuple[Float[Tensor, "point 2"], Float[Tensor, "point 2"]]:
    """Train the flow of the paper on a density of the plane, by eq. (8).

    Returns:
        Points that it was not trained on, and what they become.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        flow = BalancedFlow(2)
        points = make_toy(name, 10 * _TOY_POINTS, seed)
        optimizer = torch.optim.Adam(flow.parameters(), 3e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
        for _ in range(num_steps):
            batch = points[torch.randint(len(points), (512,))]
            z, log_determinant = flow(batch)
            loss = negative_log_likelihood(flow.base.log_prob(z), log_determinant).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
            optimizer.step()
            schedule.step()
    unseen = make_toy(name, _TOY_POINTS, seed + 1)
    with torch.no_grad():
        return unseen, flow(unseen)[0]


def _meets(
    item_z: Float[Tensor, "item bit"], query_z: Float[Tensor, "query bit"], placed_width: float, probed_width: float
) -> Bool[Tensor, " pair"]:
    agrees = (item_z > 0) == (query_z > 0)
    return (agrees | (item_z.abs() <= placed_width) | (query_z.abs() <= probed_width)).all(dim=1)


def _first_segments(queries: Columns) -> Float[Tensor, "query feature"]:
    return torch.from_numpy(np.array(queries["fingerprint"][:, 0]))


def _best_matches(queries: Columns, database: Database) -> Int[Tensor, " query"]:
    track, start = (torch.from_numpy(np.array(queries[name])) for name in ("track", "start_seconds"))
    return database.nearest_in_time(track, start)
