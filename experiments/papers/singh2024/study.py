"""What `reproduce.py` has of FlowHash (2024): fingerprints and hash tables, tables 1 to 6 and figures 2 to 5."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from experiments.compare.study_report import Report
from experiments.grids.cell import GridRunner
from experiments.papers.singh2024.settings import HASHES, Checkpoints, flow_study_of
from experiments.papers.study import Study, several_of, with_options


@dataclass(frozen=True)
class FlowHash(Study):
    """FlowHash's paper: encoders x hash tables x query lengths x distortion, balance of buckets, toys.

    Runs in this process; as a job: python submit.py reproduce flowhash. What no checkpoint is given of, is trained by
    its config.

    Attributes:
        preset: smoke trains no encoder and hardly a hash, medium (also quick, full) is FMA medium at 16 bits, large
            (also paper) FMA large at 24.
        data_config: Corpus of tracks, a config such as data/fma.yaml.
        methods: Hashes.
        bits: Code lengths; the first is that of table 1, the largest that of table 2.
        num_queries: Queries of each condition: of one segment, and of longer ones.
        fingerprinter: Checkpoints of transformers; the first is what is hashed.
        nafp: Checkpoint of fingerprinter_nafp.yaml; left out where it is not given.
        attention: Checkpoint of fingerprinter_attention.yaml; left out where it is not given.
        flowhash: Checkpoints of flowhash.yaml, one a code length.
        flowhash_contrast: Of flowhash_contrast.yaml.
        flowhash_plus: Of flowhash_plus.yaml.
        flowhash_without_bce: Of flowhash.yaml with --model.bit_weight=0.
    """

    name = "flowhash"
    runs_cells = False
    preset: Literal["smoke", "quick", "full", "paper", "medium", "large"] = "full"
    data_config: str | None = None
    methods: tuple[str, ...] = several_of(HASHES)
    bits: tuple[int, ...] = ()
    num_queries: tuple[int, ...] = ()
    fingerprinter: tuple[str, ...] = ()
    nafp: str | None = None
    attention: str | None = None
    flowhash: tuple[str, ...] = ()
    flowhash_contrast: tuple[str, ...] = ()
    flowhash_plus: tuple[str, ...] = ()
    flowhash_without_bce: tuple[str, ...] = ()

    def run(self, arguments: Sequence[str], output: Path | None, run_cells: GridRunner) -> Report:
        """Fingerprint, hash, search and analyse."""
        from experiments.papers.singh2024.comparison import run_flow_study
        from experiments.papers.singh2024.report import report_flow_study

        study = flow_study_of(self.preset)
        study = replace(
            with_options(study, self),
            num_queries=(self.num_queries[0], self.num_queries[-1]) if self.num_queries else study.num_queries,
            arguments=(*study.arguments, *arguments),
        )
        hashes = {
            "flowhash": self.flowhash, "flowhash_contrast": self.flowhash_contrast,
            "flowhash_plus": self.flowhash_plus, "flowhash_without_bce": self.flowhash_without_bce,
        }  # fmt: skip
        given = {name: paths for name, paths in hashes.items() if paths}
        checkpoints = Checkpoints(self.fingerprinter, self.nafp, self.attention, given)
        folder = output or Path(f"runs/reproduce/flowhash-{Path(study.data_config).stem}")
        return report_flow_study(run_flow_study(study, checkpoints, folder), folder)


STUDIES = (FlowHash,)
