"""What signals tell a process to do: a handler takes a note, and what has to be done is done where it is safe."""

import os
import signal
import threading
from types import FrameType

import pytorch_lightning as pl

REQUEUE_SIGNAL = signal.SIGUSR1  # what `sbatch --signal=USR1@120` sends two minutes before the end
STOP_SIGNALS = (REQUEUE_SIGNAL, signal.SIGTERM, signal.SIGINT)

noted_signals: list[signal.Signals] = []  # not yet acted on; signals come to a process, not to an object


class Preempted(SystemExit):
    """The run was told to stop and has saved its state; it ends with 128 and the signal's number, as shells do.

    Of several processes only the first ends so, or a launcher would take the others for crashed.
    """


def note_requeue_signal() -> None:
    """Take note of SIGUSR1 from now on, which would end a process that has not begun to train.

    What came while the signal was blocked, as `train.py` does before it imports anything, is noted now.
    """
    if _can_listen():
        signal.signal(REQUEUE_SIGNAL, _note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {REQUEUE_SIGNAL})


def note_signals() -> None:
    """Take note of signals until the trainer puts back the handlers that were there before it began."""
    for each in STOP_SIGNALS:
        # a grid's workers leave Ctrl+C to their parent
        if _can_listen() and signal.getsignal(each) != signal.SIG_IGN:
            signal.signal(each, _note)


def ignore_signals() -> None:
    """Let nothing disturb the saving, until the trainer puts back the handlers that were there before it began."""
    for each in STOP_SIGNALS:
        if _can_listen():
            signal.signal(each, signal.SIG_IGN)


def stop_on_sigterm(trainer: pl.Trainer) -> None:
    """Let SIGTERM stop what has nothing to save; Lightning would go on to the end."""

    def stop(signum: int, frame: FrameType | None) -> None:
        launcher = trainer.strategy.launcher
        if launcher is not None:
            launcher.kill(signal.Signals(signum))
        raise Preempted(128 + signum)

    if _can_listen():
        signal.signal(signal.SIGTERM, stop)


def _can_listen() -> bool:
    return threading.current_thread() is threading.main_thread()  # Python lets no other one


def _note(signum: int, frame: FrameType | None) -> None:
    """Take note of a signal; a second Ctrl+C stops at once."""
    received = signal.Signals(signum)
    if received == signal.SIGINT:
        if received in noted_signals:
            raise KeyboardInterrupt
        # not by logging, in the midst of which the signal may have come
        os.write(2, b"\nSaving after this batch, then stopping; Ctrl+C again stops at once.\n")
    noted_signals.append(received)
