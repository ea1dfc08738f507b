"""What Fan et al. (2020) compare on SONYC-UST, fig. 3, and what we add: models that rank by comparing pairs."""

from dataclasses import dataclass

from experiments.grids.cell import Cell
from experiments.papers.data_configs import default_frontend


@dataclass(frozen=True)
class PairModel:
    """A model of the study.

    Attributes:
        name: On the command line and in result files.
        label: In tables.
        config: What `train.py fit` takes.
    """

    name: str
    label: str
    config: str


MODELS = (
    PairModel("classifier", "independent classifier", "siamese_classifier.yaml"),
    PairModel("siamese", "Siamese, attention (the paper's)", "siamese.yaml"),
    PairModel("no_attention", "Siamese, no attention", "siamese_no_attention.yaml"),
    PairModel("no_branch", "no Siamese structure", "siamese_no_branch.yaml"),
    PairModel("sub_models", "eight sub-models", "siamese_sub_models.yaml"),
    PairModel("sub_models_no_branch", "eight sub-models, no Siamese structure", "siamese_sub_models_no_branch.yaml"),
    PairModel("log_mel", "Siamese, attention, log-mel", "siamese_log_mel.yaml"),
    PairModel("vggish", "Siamese, attention, VGGish", "siamese_vggish.yaml"),
    PairModel("symmetric", "Siamese, attention, symmetric", "siamese_symmetric.yaml"),
    PairModel("plus", "Siamese plus (ours)", "siamese_plus.yaml"),
)
MODEL_OF = {model.name: model for model in MODELS}
# Rankings that nothing is trained for.
GIVEN = {"random": "random order", "cosine": "cosine of mean features"}
METHODS = {**GIVEN, **{model.name: model.label for model in MODELS}}


@dataclass(frozen=True)
class PairStudy:
    """What is compared.

    Attributes:
        data_config: Corpus whose clips have several labels each.
        methods: Names in `METHODS`.
        seeds: Seeds of everything that is drawn.
        arguments: Further arguments of every run, and options of the data.
        training_arguments: Further arguments of every run.
    """

    data_config: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    arguments: tuple[str, ...] = ()
    training_arguments: tuple[str, ...] = ()

    def cells(self) -> dict[tuple[str, int], Cell]:
        """List the runs by method and seed."""
        return {
            (name, seed): self._cell(MODEL_OF[name], seed)
            for name in self.methods
            if name in MODEL_OF
            for seed in self.seeds
        }

    def _cell(self, model: PairModel, seed: int) -> Cell:
        drawn = (f"--seed_everything={seed}", f"--data.pair_seed={seed}", f"--data.val_seed={seed}")
        arguments = (f"--config={model.config}", *drawn, f"--model.seed={seed}", "--trainer.devices=1")
        frontend = default_frontend(model.config)  # cells of one front end wait for its cache
        return Cell(model.name, frontend, 0, 0, seed, None, (*arguments, *self.training_arguments, *self.arguments))


def pair_study_of(preset: str) -> PairStudy:
    """Return what a preset compares.

    `paper` and `full` have every model that VGGish's weights are not needed for, with ten and three seeds; `quick` the
    classifier, the paper's model and ours with one seed; `smoke` the same, hardly trained.
    """
    few = (*GIVEN, "classifier", "siamese", "plus")
    every = tuple(name for name in METHODS if name != "vggish")
    if preset == "smoke":
        return PairStudy(_CORPUS, few, (0,), (), ("--trainer.limit_train_batches=2",))
    seeds = {"quick": (0,), "full": (0, 1, 2), "paper": tuple(range(10))}[preset]
    return PairStudy(_CORPUS, few if preset == "quick" else every, seeds)


_CORPUS = "data/sonyc_ust.yaml"
