"""What FlowHash (2024) compares, tables 1 to 6 and figures 2 to 5, and what we add."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# What the study measures with the encoder and hash of each of these names on the command line.
ENCODERS = {
    "fingerprinter": "transformer",
    "nafp": "NAFP",
    "attention": "attention AE",
    "pooled": "pooled log-mel",
}
HASHES = {
    "lsh": "LSH, random hyperplanes",
    "cross_polytope": "LSH, cross-polytope",
    "ot": "optimal transport",
    "itq": "ITQ",
    "pca_median": "PCA, medians",
    "flowhash": "FlowHash (the paper's)",
    "flowhash_without_bce": "FlowHash without BCE",
    "flowhash_contrast": "projection by contrast (ours)",
    "flowhash_plus": "balanced residual cells (ours)",
}
EXACT = "exact"
WIDTHS = "flowhash_widths"  # FlowHash searched with the paper's r and r~ in place of a budget
METHODS = {EXACT: "exact search", **HASHES, WIDTHS: "FlowHash, widths 1.0 and 1.25"}
LEARNED_CONFIGS = {
    "flowhash": ("flowhash.yaml", ()),
    "flowhash_without_bce": ("flowhash.yaml", ("--model.bit_weight=0.0",)),
    "flowhash_contrast": ("flowhash_contrast.yaml", ()),
    "flowhash_plus": ("flowhash_plus.yaml", ()),
}  # fmt: skip
# Of each corpus: the paper's table with it.
TABLE_OF_CORPUS = {"Fma": "table1", "LibriSpeech": "table3", "MusicFolder": "table4"}


@dataclass(frozen=True)
class Checkpoints:
    """What was trained before; a hash may be given at several code lengths.

    Attributes:
        fingerprinter: Transformers; the first is the study's own, all are compared in table 6.
        nafp: Encoder of Chang et al. (2021).
        attention: Encoder of Singh et al. (2022).
        hashes: Checkpoints of `FlowHash` by name in `LEARNED_CONFIGS`.
    """

    fingerprinter: tuple[str, ...] = ()
    nafp: str | None = None
    attention: str | None = None
    hashes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class FlowStudy:
    """What is compared.

    Attributes:
        data_config: Corpus of tracks.
        methods: Hashes, names in `HASHES`.
        bits: Code lengths; the first is that of table 1, the largest that of table 2, all are in the balance.
        seconds: Lengths of queries; the first is a segment.
        num_queries: Queries of each condition of one segment, and of longer ones.
        num_tuning: Queries at 10 dB on which the number of probes is chosen.
        probes: Numbers of probes to choose from, ascending.
        max_ot_bits: Longest code of optimal transport, whose cost grows with 2^K.
        ot_steps: Steps that it learns.
        toy_steps: Steps that the flow of figure 5 learns.
        num_pairs_per_track: Distorted segments of each training track that hashes learn from.
        fingerprinter_config: Trained where no encoder is given; None takes the pooled one.
        hash_arguments: Of the training of each learned hash.
        arguments: Of the data and of every training.
        alpha: False-alarm rate asked for.
    """

    data_config: str
    methods: tuple[str, ...]
    bits: tuple[int, ...]
    seconds: tuple[float, ...]
    num_queries: tuple[int, int]
    num_tuning: int
    probes: tuple[int, ...]
    max_ot_bits: int
    ot_steps: int
    toy_steps: int
    num_pairs_per_track: int
    fingerprinter_config: str | None
    hash_arguments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    alpha: float = 0.01

    def count(self, seconds: float) -> int:
        """Return the number of queries of a length, of each condition."""
        return self.num_queries[seconds != self.seconds[0]]


def encoder_label(encoder: str) -> str:
    """Return what tables call an encoder; further transformers have their number."""
    position = encoder.removeprefix("fingerprinter")
    return ENCODERS[encoder] if encoder in ENCODERS else f"{ENCODERS['fingerprinter']} {int(position) + 1}"


def flow_study_of(preset: str) -> FlowStudy:
    """Return what a preset compares.

    `smoke` takes minutes on two cores, nothing is trained for longer than seconds; `medium` (also `quick` and `full`)
    and `large` (also `paper`) are the paper's, FMA medium at 16 bits and FMA large at 24.
    """
    every = tuple(HASHES)
    if preset == "smoke":
        return FlowStudy(
            _CORPUS, every, (12, 10, 16), (1.0, 2.0, 5.0), (200, 10), 200, _steps(128), 12, 40, 300, 30, None,
            {name: _FEW_EPOCHS[config] for name, (config, _) in LEARNED_CONFIGS.items()},
        )  # fmt: skip
    lengths = (1.0, 2.0, 3.0, 5.0)
    if preset in ("large", "paper"):
        large = ("--data.index_subset=large",)
        hashes = tuple(name for name in every if name != "ot")  # section 4.6: out of reach at 24 bits
        return FlowStudy(
            _CORPUS, hashes, (24, 16), lengths, (1000, 1000), 1000, _steps(1024), 12, 600, 2000, 100,
            "fingerprinter.yaml", {}, large,
        )  # fmt: skip
    return FlowStudy(
        _CORPUS, every, (16, 10, 12), lengths, (1000, 1000), 1000, _steps(1024), 16, 600, 2000, 100,
        "fingerprinter.yaml",
    )  # fmt: skip


def _steps(most: int) -> tuple[int, ...]:
    """Return numbers of probes, a fifth more from one to the next; the paper's 35 is among them."""
    numbers, last = {1, 35, most}, 1.0
    while last < most:
        numbers.add(round(last))
        last *= 1.2
    return tuple(sorted(numbers))


_CORPUS = "data/fma.yaml"
_FEW_EPOCHS = {
    "flowhash.yaml": ("--trainer.max_epochs=60", "--model.projection_epochs=5"),
    "flowhash_contrast.yaml": ("--trainer.max_epochs=2", "--trainer.limit_train_batches=80"),
    "flowhash_plus.yaml": (),
}
