"""What every report of one kind of model promises."""

import pytest
import pytorch_lightning as pl

from callbacks import FingerprintReport, PresenceReport, VaeReport
from tests.trainers import quiet_trainer

Report = FingerprintReport | PresenceReport | VaeReport


@pytest.mark.parametrize(
    ("report", "needed"),
    [(FingerprintReport(), "Fingerprinter"), (PresenceReport(), "Siamese"), (VaeReport(), "Vae")],
)
def test_another_model_is_refused(report: Report, needed: str) -> None:
    with pytest.raises(TypeError, match=rf"needs a lightning_modules\.{needed}; got"):
        report.setup(quiet_trainer(), pl.LightningModule(), "test")
