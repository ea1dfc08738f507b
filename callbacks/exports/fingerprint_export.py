"""Write the fingerprints, or the hash's z or code, of all segments of a database in files that numpy reads.

fingerprint.npy     float32 [item, feature]; of a hash `z.npy`, [item, bit], or `code.npy`, bool [item, bit]
track.npy           int64 [item], a line of tracks.csv
start_seconds.npy   float64 [item], where the segment begins in its track
tracks.csv          track, name
"""

import logging
from pathlib import Path
from typing import cast

import pytorch_lightning as pl

from callbacks.exports.prediction_export import PredictionExport
from callbacks.exports.prediction_shards import Columns
from callbacks.protocols import HasTracks
from storage.atomic import write_array, write_csv

_logger = logging.getLogger(__name__)


class FingerprintExport(PredictionExport):
    """Write the fingerprints of all segments when `predict` ends.

    Args:
        folder: Where to; None is `<run folder>/fingerprints`.
    """

    columns = ("item_index", "track", "start_seconds", "fingerprint", "z", "code")
    default_folder = "fingerprints"

    def export(self, trainer: pl.Trainer, pl_module: pl.LightningModule, folder: Path, columns: Columns) -> None:
        """Write the module's files; each appears only when complete."""
        for name, column in columns.items():
            if name != "item_index":  # the number of the row
                write_array(folder / f"{name}.npy", column)
        tracks = cast(HasTracks, trainer.datamodule).tracks  # type: ignore[attr-defined]
        write_csv(folder / "tracks.csv", [{"track": number, "name": each.name} for number, each in enumerate(tracks)])
        _logger.info("Fingerprints of %d segments: %s", len(columns["item_index"]), folder)
