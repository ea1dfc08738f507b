"""The paper's own numbers, from `published.yaml`."""

import functools
from dataclasses import dataclass
from pathlib import Path

import yaml

_FILE = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True)
class PublishedFlowHash:
    """The paper's numbers; see the data file for their order.

    Attributes:
        conditions: Of the columns.
        recall: By table, query seconds and method: top-1 in % by condition, then eval in %.
        corpora: What each table was measured on.
        dims: Likewise by size of the fingerprint, table 6.
        width_pairs: r and r~ of table 5.
        widths: By size of the fingerprint, then kind of distortion: probabilities by pair, then SNR.
        near_uniform_percent: Buckets nearly evenly filled.
        close_percent: Pairs (z, z+) less than 0.5 apart.
        mean_probes: Buckets probed a query.
    """

    conditions: list[str]
    recall: dict[str, dict[float, dict[str, list[float]]]]
    corpora: dict[str, str]
    dims: dict[int, list[float]]
    width_pairs: list[tuple[float, float]]
    widths: dict[int, dict[str, list[list[float]]]]
    near_uniform_percent: dict[str, float]
    close_percent: dict[str, float]
    mean_probes: dict[str, float]


@functools.cache
def read_published() -> PublishedFlowHash:
    """Read the paper's numbers."""
    content = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    recall = content["recall"]
    return PublishedFlowHash(
        content["conditions"],
        {table: {float(seconds): rows for seconds, rows in own["by_seconds"].items()} for table, own in recall.items()},
        {table: own["corpus"] for table, own in recall.items()} | {"table6": content["dims"]["corpus"]},
        content["dims"]["by_dim"],
        [(float(placed), float(probed)) for placed, probed in content["widths"]["pairs"]],
        content["widths"]["by_dim"],
        content["near_uniform_percent"],
        content["close_percent"],
        content["mean_probes"],
    )
