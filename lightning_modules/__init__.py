"""What learns: one file a paper."""

from lightning_modules.dqn import AudioDqn

__all__ = ["AudioDqn"]
