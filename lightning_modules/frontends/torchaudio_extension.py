"""Make torchaudio importable where its compiled extension can't be loaded.

torchaudio's wheels are built against CUDA; beside a CPU-only torch, `import torchaudio` ends in an
OSError about a missing CUDA library. Everything this project takes from it (spectrograms, mel
filters, resampling) is pure Python, so a stand-in for the extension module is enough.
"""

import importlib
import importlib.machinery
import logging
import sys
import types
from collections.abc import Callable

_logger = logging.getLogger(__name__)


def make_torchaudio_importable() -> bool:
    """Import torchaudio, without its compiled extension if that can't be loaded.

    Returns:
        Whether the compiled extension was left out. Functions that need it (forced alignment)
        then raise RuntimeError when called.
    """
    try:
        importlib.import_module("torchaudio")
    except OSError as error:
        _logger.debug("torchaudio's compiled extension is left out: %s", error)
    else:
        return False
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        del sys.modules[name]
    sys.modules["torchaudio._extension"] = _extension_stand_in()
    importlib.import_module("torchaudio")
    return True


def _extension_stand_in() -> types.ModuleType:
    def refuse(function: Callable[..., object]) -> Callable[..., object]:
        def raise_unavailable(*_args: object, **_kwargs: object) -> object:
            raise RuntimeError(
                f"torchaudio's {function.__name__} needs its compiled extension, which can't be loaded beside "
                "this build of torch. Install torch and torchaudio built for the same device."
            )

        return raise_unavailable

    module = types.ModuleType("torchaudio._extension")
    module.__spec__ = importlib.machinery.ModuleSpec("torchaudio._extension", loader=None)
    module.__dict__.update(_IS_TORCHAUDIO_EXT_AVAILABLE=False, _IS_ALIGN_AVAILABLE=False, fail_if_no_align=refuse)
    return module
