"""Fingerprints with a distorted copy each, so that what is learned can be told from chance."""

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tests.lightning_modules.makers import Rows, draw

DIM, BITS, NUM_ITEMS, NUM_QUERIES = 8, 4, 256, 40


class Pairs(pl.LightningDataModule):
    """Fingerprints on the sphere; a query is an item with noise, at its place."""

    conditions = ("noise 0 dB", "noise 10 dB")

    def __init__(self) -> None:
        super().__init__()
        self.num_asked = 0
        fingerprint = nn.functional.normalize(draw(NUM_ITEMS, DIM), dim=1)
        distorted = nn.functional.normalize(fingerprint + 0.1 * draw(NUM_ITEMS, DIM, seed=1), dim=1)
        index = torch.arange(NUM_ITEMS)
        place = {"item_index": index, "track": index // 64, "start_seconds": (index % 64).double()}
        self.train_rows = {"fingerprint": fingerprint, "distorted": distorted, "item_index": index}
        none = {"condition": index * 0 - 1, "is_repeated": index < 0}
        self.items = {"fingerprint": fingerprint, **place, **none}
        self.queries = {name: column[:NUM_QUERIES] for name, column in self.items.items()}
        self.queries |= {"fingerprint": distorted[:NUM_QUERIES], "condition": index[:NUM_QUERIES] % 2}

    def training_fingerprints(self) -> Tensor:
        self.num_asked += 1
        return self.train_rows["fingerprint"]

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(Rows(self.train_rows), batch_size=128)

    def val_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        return [DataLoader(Rows(columns), batch_size=100) for columns in (self.queries, self.items)]

    def test_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        return self.val_dataloader()
