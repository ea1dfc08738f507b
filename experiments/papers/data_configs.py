"""What studies ask of the config of a corpus: whether it has folds, and which front end hears it."""

from typing import Any

from experiments.command.configs import find_config, read_config

FRONTENDS = {
    "yamnet": "lightning_modules.frontends.YamNet",
    "vggish": "lightning_modules.frontends.VggIsh",
    "tlweak": "lightning_modules.frontends.TlWeak",
    "log_mel": "lightning_modules.frontends.LogMelStatistics",
    "precomputed": "datamodules.PrecomputedEmbeddings",
}


def has_folds(data_config: str) -> bool:
    """Whether the corpus of a data config is split in folds."""
    return "fold" in _data_options(data_config)


def default_frontend(data_config: str) -> str:
    """Return the name in `FRONTENDS` of the front end that a data config has; empty for one that is not there."""
    frontend = _data_options(data_config)["frontend"]
    return next((name for name, path in FRONTENDS.items() if path == frontend["class_path"]), "")


def _data_options(data_config: str) -> dict[str, Any]:
    options: dict[str, Any] = read_config(find_config(data_config))["data"]["init_args"]
    return options
