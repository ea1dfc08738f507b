"""torchaudio imports whether or not its compiled extension can be loaded."""

import subprocess
import sys

import pytest

# A loader that fails as the compiled extension does beside a CPU-only torch.
BROKEN = """
import sys
import importlib.abc, importlib.machinery

class Broken(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name == "torchaudio._extension":
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        raise OSError("libc10_cuda.so: cannot open shared object file")
    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Broken())
"""
USE = """
import lightning_modules.frontends
import torch, torchaudio
assert torchaudio.transforms.MelSpectrogram(16000)(torch.randn(1, 4000)).shape[1] == 128
assert torchaudio.functional.resample(torch.randn(1, 4410), 44100, 16000).shape[1] == 1600
print(torchaudio._extension._IS_TORCHAUDIO_EXT_AVAILABLE)
torchaudio.functional.forced_align(torch.zeros(1, 4, 3), torch.ones(1, 1))
"""


@pytest.mark.processes
def test_a_broken_extension_is_left_out() -> None:
    result = subprocess.run([sys.executable, "-c", BROKEN + USE], capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "False"
    # what needs the extension says so
    assert "forced_align needs its compiled extension" in result.stderr
