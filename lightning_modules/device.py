"""Where models run that no trainer places."""

import torch


def find_device() -> torch.device:
    """Return the accelerator if there is one, else the host."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return torch.device("cpu") if found is None else found
