"""The comparison of FlowHash (2024), `reproduce.py flowhash`: fingerprint, hash, search, analyse."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

from experiments.papers.singh2024.analysis import (
    Balance,
    Closeness,
    FalseAlarms,
    Marginals,
    WidthResult,
    measure_balance,
    measure_closeness,
    measure_marginals,
    measure_widths,
    train_toy,
)
from experiments.papers.singh2024.cells import Curve, EncoderStudy, Kept
from experiments.papers.singh2024.fingerprints import Encoder, open_corpus
from experiments.papers.singh2024.hashes import HashMaker, StudyHash
from experiments.papers.singh2024.published import read_published
from experiments.papers.singh2024.search import Row
from experiments.papers.singh2024.settings import ENCODERS, Checkpoints, FlowStudy
from experiments.papers.singh2024.toy_densities import Toy
from experiments.papers.singh2024.training import pooled_encoder, train_encoder
from lightning_modules import FrozenFingerprinter
from storage.atomic import write_arrays

Measured = Balance | Closeness | Marginals | WidthResult
TUNED_CONDITION = "noise 10 dB"
_WITHOUT_BCE = "flowhash_without_bce"
_SCALED = ("lsh", "flowhash", "flowhash_plus")  # table 2, and what we add to it


@dataclass(frozen=True)
class FlowStudyResult:
    """What a study found.

    Attributes:
        study: What was compared.
        corpus: Class of the corpus.
        data_name: What the numbers are to be called.
        conditions: Of queries.
        main_encoder: Encoder that hashes are compared on.
        num_items: Size of the database.
        rows: Of every search and condition.
        curves: Of every hash table.
        balances: Of every hash and code length.
        marginals: Of FlowHash.
        closeness: Of FlowHash with and without BCE.
        widths: Table 5; none without FlowHash.
        false_alarms: By encoder and length of the query.
        toys: By name, points and what they become, float32 [point, 2] each.
    """

    study: FlowStudy
    corpus: str
    data_name: str
    conditions: list[str]
    main_encoder: str
    num_items: int
    rows: list[Row]
    curves: list[Curve]
    balances: list[Balance]
    marginals: list[Marginals]
    closeness: list[Closeness]
    widths: list[WidthResult]
    false_alarms: list[FalseAlarms]
    toys: dict[Toy, tuple[np.ndarray, np.ndarray]]


def run_flow_study(study: FlowStudy, checkpoints: Checkpoints, folder: Path) -> FlowStudyResult:
    """Run a study; what was computed before is read back.

    Args:
        study: What to compare.
        checkpoints: What was trained before.
        folder: Where all is kept.

    Raises:
        DatasetError: If the corpus, noise or rooms are missing or damaged.
        SearchError: If a checkpoint is not there, or of something else.
        TypeError: If the corpus has no tracks.
        ValueError: If an option is not understood, or data don't suit a method.
    """
    kept = Kept(folder / "cells")
    corpus = open_corpus(study)
    main, *others = _encoders(study, checkpoints, folder)
    search = EncoderStudy(study, main, folder, kept, corpus.conditions)
    maker = HashMaker(search.fingerprints, checkpoints.hashes, folder)
    rows, curves = search.exact_rows(), list[Curve]()
    main_bits, largest = study.bits[0], max(study.bits)
    for name in study.methods:
        for num_bits in {main_bits: None, largest: None} if name in _SCALED else {main_bits: None}:
            hashed = None if name == _WITHOUT_BCE else maker.make(name, num_bits)
            if hashed is not None:
                curves.append(search.curve(hashed))
                lengths = study.seconds if num_bits == main_bits else study.seconds[:1]
                rows += search.table_rows(hashed, curves[-1].chosen_probes, lengths)
    flow = maker.make("flowhash", main_bits) if "flowhash" in study.methods else None
    if flow is not None:
        rows += search.width_rows(flow)
    analysis = _Analysis(search, maker)
    alarms = search.false_alarms()
    for encoder in others:
        other = EncoderStudy(study, encoder, folder, kept, corpus.conditions)
        rows += other.exact_rows()
        if encoder.name != "pooled":
            lsh = HashMaker(other.fingerprints, {}, folder).make("lsh", main_bits)
            assert lsh is not None  # it has any length
            curves.append(other.curve(lsh))
            rows += other.table_rows(lsh, curves[-1].chosen_probes, study.seconds)
        else:
            alarms += other.false_alarms()
    return FlowStudyResult(
        study, type(corpus).__name__, corpus.data_name, corpus.conditions, main.name, len(search.database.track), rows,
        curves, analysis.balances(), analysis.marginals(), analysis.closeness(),
        [] if flow is None else analysis.widths(flow), alarms, _toys(study, folder),
    )  # fmt: skip


class _Analysis:
    """What is measured of hashes beside searches."""

    def __init__(self, search: EncoderStudy, maker: HashMaker) -> None:
        self.search, self.maker, self.study = search, maker, search.study

    def balances(self) -> list[Balance]:
        """Measure every hash at every length; without BCE at the first only."""
        found = []
        for name in self.study.methods:
            for num_bits in self.study.bits[:1] if name == _WITHOUT_BCE else self.study.bits:
                hashed = self.maker.make(name, num_bits)
                if hashed is not None:
                    measure = partial(measure_balance, hashed, self.search.database)
                    found.append(Balance(**self._kept("balance", hashed, measure)))
        return found

    def marginals(self) -> list[Marginals]:
        """Measure FlowHash at the first length and at the largest, and ours beside it."""
        found = []
        for name in ("flowhash", "flowhash_contrast"):
            for num_bits in dict.fromkeys((self.study.bits[0], max(self.study.bits))):
                hashed = self.maker.make(name, num_bits) if name in self.study.methods else None
                if hashed is not None:
                    measure = partial(measure_marginals, hashed, self.search.database)
                    found.append(Marginals(**self._kept("marginals", hashed, measure)))
        return found

    def closeness(self) -> list[Closeness]:
        """Measure FlowHash with and without BCE."""
        found = []
        for name in ("flowhash", _WITHOUT_BCE, "flowhash_contrast"):
            hashed = self.maker.make(name, self.study.bits[0]) if name in self.study.methods else None
            if hashed is not None:

                def compute(hashed: StudyHash = hashed) -> Closeness:
                    columns = self.search.fingerprints.queries(self.study.seconds[0])
                    return measure_closeness(hashed, columns, self.search.database)

                found.append(Closeness(**self._kept("closeness", hashed, compute)))
        return found

    def widths(self, hashed: StudyHash) -> list[WidthResult]:
        """Measure the paper's four pairs."""
        conditions = self.search.conditions
        counted = TUNED_CONDITION if TUNED_CONDITION in conditions else conditions[0]

        def compute() -> list[WidthResult]:
            columns = self.search.fingerprints.queries(self.study.seconds[0])
            pairs = read_published().width_pairs
            return measure_widths(hashed, columns, self.search.database, pairs, conditions, counted)

        return [WidthResult(**own) for own in self._kept("widths", hashed, compute)]

    def _kept(self, name: str, hashed: StudyHash, compute: Callable[[], Measured | Sequence[Measured]]) -> Any:  # noqa: ANN401 - JSON
        def plain() -> object:
            measured = compute()
            return [asdict(each) for each in measured] if isinstance(measured, Sequence) else asdict(measured)

        parts = (self.search.fingerprints.key, hashed.key, self.study.num_queries[0])
        return self.search.kept.get(f"{name}-{hashed.name}-{hashed.num_bits}", parts, plain)


def _encoders(study: FlowStudy, checkpoints: Checkpoints, folder: Path) -> list[Encoder]:
    """Return the encoder that hashes are compared on, then the others; the pooled one is always there."""
    training = folder / "training"
    for path in (*checkpoints.fingerprinter, checkpoints.nafp, checkpoints.attention):
        if path is not None:
            FrozenFingerprinter(path).prepare()  # before hours of work
    given = [
        Encoder(f"fingerprinter{number or ''}", ENCODERS["fingerprinter"], Path(path))
        for number, path in enumerate(checkpoints.fingerprinter)
    ]
    if not given and study.fingerprinter_config is not None:
        given = [train_encoder(study, study.fingerprinter_config, training)]
    for name, path in (("nafp", checkpoints.nafp), ("attention", checkpoints.attention)):
        given += [] if path is None else [Encoder(name, ENCODERS[name], Path(path))]
    return [*given, pooled_encoder(study, training)]


def _toys(study: FlowStudy, folder: Path) -> dict[Toy, tuple[np.ndarray, np.ndarray]]:
    found: dict[Toy, tuple[np.ndarray, np.ndarray]] = {}
    for name in get_args(Toy):
        path = folder / "cells" / f"toy-{name}-{study.toy_steps}.npz"
        if not path.is_file():
            points, becomes = (each.numpy() for each in train_toy(name, study.toy_steps))
            write_arrays(path, {"points": points, "becomes": becomes})
        with np.load(path, allow_pickle=False) as arrays:
            found[name] = (arrays["points"], arrays["becomes"])
    return found
