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
    """Return the name in `FRONTENDS` of a config's front end, YAMNet where it has none; empty for another."""
    model = read_config(find_config(data_config)).get("model") or {}
    frontend = (model.get("init_args") or {}).get("preprocessing", {}).get("frontend")
    if frontend is None:
        return "yamnet"  # which the models' own configs have
    return next((name for name, path in FRONTENDS.items() if path == frontend["class_path"]), "")


def _data_options(data_config: str) -> dict[str, Any]:
    options: dict[str, Any] = read_config(find_config(data_config))["data"]["init_args"]
    return options
