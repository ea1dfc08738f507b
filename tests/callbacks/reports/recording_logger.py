"""A logger that stands in for W&B."""

from typing import Any

from pytorch_lightning.loggers import WandbLogger


class RecordingLogger(WandbLogger):
    """Keeps what the report logs; what the trainer logs goes nowhere."""

    def __init__(self) -> None:
        self._save_dir = "nowhere"
        self.logged: dict[str, Any] = {}
        self.configured: dict[str, Any] = {}
        self.config = self
        self.offline, self.dir = True, "nowhere/files"

    @property
    def experiment(self) -> Any:
        return self

    def update(self, values: dict[str, Any], allow_val_change: bool) -> None:
        self.configured |= values

    def log(self, values: dict[str, Any]) -> None:
        self.logged |= values

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        pass

    def finalize(self, status: str) -> None:
        pass
