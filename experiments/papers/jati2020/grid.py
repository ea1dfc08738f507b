"""Tables 1 and 2 and figures 2 and 3 of Jati and Emmanouilidou (2020) as grids of runs of train.py."""

from dataclasses import dataclass
from typing import Literal

from experiments.grids.cell import Cell
from experiments.papers.data_configs import FRONTENDS, default_frontend, has_folds

Target = Literal["table1", "table2", "fig2", "fig3"]


@dataclass(frozen=True)
class Method:
    """A row of a table.

    Attributes:
        name: On the command line and in result files.
        label: In tables.
        config: What `train.py fit` takes.
        published: Its name among the paper's values.
        arguments: Further arguments.
        learns_from_labels: Whether labelled clips play a part.
        draws: Whether its seed changes anything.
        has_codewords: Whether it has several books of codewords.
        max_bits: Longest code that makes sense; None is any.
        scores_exactly: Whether exact cosine search of the features is scored, in place of a code.
    """

    name: str
    label: str
    config: str
    published: str | None = None
    arguments: tuple[str, ...] = ()
    learns_from_labels: bool = False
    draws: bool = True
    has_codewords: bool = False
    max_bits: int | None = None
    scores_exactly: bool = False


METHODS = (
    Method("lsh", "LSH", "baselines/lsh.yaml"),
    Method("sh", "SH", "baselines/sh.yaml", "sh", draws=False),
    Method("itq", "ITQ", "baselines/itq.yaml", "itq"),
    Method("itq_faiss", "ITQ, solved by faiss", "baselines/itq.yaml", None, ("--model.coder.init_args.solver=faiss",)),
    Method("agh", "AGH, one layer", "baselines/agh.yaml", "agh"),
    Method("agh2", "AGH, two layers", "baselines/agh.yaml", None, ("--model.coder.init_args.num_layers=2",)),
    Method("klsh", "KLSH", "baselines/klsh.yaml"),
    Method("bre", "BRE", "baselines/bre.yaml"),
    Method("dsh", "DSH", "baselines/dsh.yaml"),
    Method("pca_sign", "PCA, signs", "baselines/pca_sign.yaml", draws=False),
    Method("pca_rr", "PCA, random rotation, signs", "baselines/pca_rr.yaml"),
    Method("pq", "PQ", "baselines/pq.yaml", "pq", has_codewords=True),
    Method("pq_unit", "PQ, L2-normalised", "baselines/pq.yaml", None, ("--model.normalize=true",), has_codewords=True),
    Method("opq", "OPQ", "baselines/opq.yaml", has_codewords=True),
    Method("rq", "RQ", "baselines/rq.yaml", has_codewords=True),
    Method("vq", "VQ", "baselines/vq.yaml", max_bits=8),
    Method("exact", "exact cosine, no code", "baselines/pca_sign.yaml", draws=False, scores_exactly=True),
    Method("dqn", "audio DQN", "dqn.yaml", "dqn", learns_from_labels=True, has_codewords=True),
    Method("dqn_proxy", "audio DQN, ours", "dqn_proxy.yaml", learns_from_labels=True, has_codewords=True),
)  # fmt: skip
METHOD_OF = {method.name: method for method in METHODS}


@dataclass(frozen=True)
class Grid:
    """What is varied.

    Attributes:
        data_config: Corpus.
        embeddings: Names in `FRONTENDS`.
        methods: Names in `METHODS`.
        bits: Code lengths.
        num_codewords: Codewords a book.
        folds: Folds whose clips ask; only for corpora with folds.
        seeds: Seeds of labels, weights and codes.
        label_fractions: Labelled shares of the database; None is what the data config says.
        arguments: Further arguments of every cell.
        training_arguments: Further arguments of every cell that learns.
    """

    data_config: str
    embeddings: tuple[str, ...]
    methods: tuple[str, ...]
    bits: tuple[int, ...]
    num_codewords: int
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    label_fractions: tuple[float | None, ...] = (None,)
    arguments: tuple[str, ...] = ()
    training_arguments: tuple[str, ...] = ()

    def cells(self) -> list[Cell]:
        """List the runs; a method that draws nothing runs once a fold, one whose codes can't be so long not at all."""
        folds = self.folds if has_folds(self.data_config) else (0,)
        return [
            self._cell(METHOD_OF[name], embedding, num_bits, fold, seed, fraction)
            for embedding in self.embeddings
            for name in self.methods
            for num_bits in self._bits_of(METHOD_OF[name])
            for fold in folds
            for seed in (self.seeds if METHOD_OF[name].draws else self.seeds[:1])
            for fraction in (self.label_fractions if METHOD_OF[name].learns_from_labels else (None,))
        ]

    def _bits_of(self, method: Method) -> list[int]:
        if method.scores_exactly:
            return [self.bits[0]]  # no code, so one length stands for all
        return [num_bits for num_bits in self.bits if method.max_bits is None or num_bits <= method.max_bits]

    def _cell(
        self, method: Method, embedding: str, num_bits: int, fold: int, seed: int, fraction: float | None
    ) -> Cell:
        arguments = [f"--config={method.config}", f"--config={self.data_config}", f"--seed_everything={seed}"]
        # one process, and no validation, whose loaders would draw from the generator that training draws from
        arguments += ["--trainer.devices=1", "--trainer.limit_val_batches=0"]
        if embedding != default_frontend(self.data_config):
            arguments.append(f"--model.preprocessing.frontend={FRONTENDS[embedding]}")
        if fold:
            arguments.append(f"--data.fold={fold}")
        if fraction is not None:
            arguments += ["--data.labels_per_class=null", f"--data.label_fraction={fraction}"]
        arguments += [f"--model.num_bits={num_bits}", *method.arguments]
        if method.learns_from_labels:
            arguments += [f"--data.label_seed={seed}", f"--model.num_codewords={self.num_codewords}"]
            arguments += [f"--model.quantizer.init_args.seed={seed}", *self.training_arguments]
        else:
            if method.draws:
                arguments.append(f"--model.coder.init_args.seed={seed}")
            if method.has_codewords:
                arguments.append(f"--model.coder.init_args.num_codewords={self.num_codewords}")
        return Cell(
            method.name, embedding, num_bits, fold, seed, fraction, (*arguments, *self.arguments), method.scores_exactly
        )


def grid_of(target: Target, preset: str) -> Grid:
    """Return the grid of a table or figure.

    Presets: `full` has the folds and three seeds, `paper` the folds and ten, `quick` three folds and one seed, `smoke`
    few methods and lengths on rendered events, with hardly any training: a test that all parts work.
    """
    folds, seeds = {
        "smoke": ((1,), (0,)),
        "quick": ((1, 2, 3), (0,)),
        "full": ((1, 2, 3, 4, 5), (0, 1, 2)),
        "paper": ((1, 2, 3, 4, 5), tuple(range(10))),
    }[preset]
    everything = tuple(method.name for method in METHODS)
    curves = ("pq", "exact", "dqn", "dqn_proxy")
    fractions = (0.1, 0.5, 1.0) if preset in ("smoke", "quick") else (0.1, 0.25, 0.5, 0.75, 1.0)
    on_fsd, on_esc = "data/fsd_kaggle2018.yaml", "data/esc50.yaml"
    grid = {
        "table1": Grid(on_fsd, ("yamnet",), everything, (8, 16, 24, 32, 64), 256, folds, seeds),
        "table2": Grid(on_esc, ("yamnet",), everything, (6, 12, 18, 24, 48), 64, folds, seeds),
        "fig2": Grid(on_fsd, ("yamnet",), ("dqn", "dqn_proxy"), (64,), 256, folds, seeds, fractions),
        "fig3": Grid(on_fsd, ("yamnet",), curves, (64,), 256, folds, seeds, fractions),
    }[target]
    if preset != "smoke":
        return grid
    is_table = target.startswith("table")
    methods, bits, num_codewords = (
        (("lsh", "itq", "pq", "dqn"), (6, 12), 64) if is_table else (("pq", "dqn"), (12,), 16)
    )
    return Grid(
        "data/rendered_events.yaml", ("log_mel",), methods, bits, num_codewords, folds, seeds,
        grid.label_fractions[:2], ("--data.clips_per_class=20",), ("--trainer.max_epochs=2",),
    )  # fmt: skip
