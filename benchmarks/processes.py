"""Measure an epoch in one and two processes: python -m benchmarks.processes --sonyc DIR --fma DIR --musan DIR."""

import argparse
import csv
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

# as many threads as processes: what is compared is one core with two. Set before torch and faiss are imported.
os.environ["OMP_NUM_THREADS"] = "1"

from rich.console import Console
from rich.table import Table

from experiments.command.cli import run_command

_NUM_EPOCHS = 4  # of a run; the first one warms up
_QUIET = (
    "--test_after_fit=false", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
    "--trainer.limit_val_batches=0", "--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1000",
    "--trainer.logger=pytorch_lightning.loggers.CSVLogger", "--trainer.logger.name=log", "--trainer.logger.version=0",
    "--trainer.callbacks=pytorch_lightning.callbacks.ModelCheckpoint", "--trainer.callbacks.filename=last",
    "--trainer.callbacks.save_on_train_epoch_end=true",
    "--trainer.callbacks+=callbacks.EpochSeconds", f"--trainer.max_epochs={_NUM_EPOCHS}",
)  # fmt: skip
_EVENTS = ("--config=data/rendered_events.yaml", "--data.clips_per_class=40")


def list_cases(
    folder: Path, sonyc: Path | None, fma: Path | None, musan: Path | None
) -> dict[str, tuple[int, list[str]]]:
    """Return the size of the global batch and the command of each module whose corpus is there.

    A baseline trains nothing: its one fit is done by the first process.
    """
    log_mel = "--model.preprocessing.frontend=lightning_modules.frontends.LogMel"
    cases = {
        "dqn": (200, ["--config=dqn.yaml", *_EVENTS]),
        "vae": (64, ["--config=vae_small.yaml", *_EVENTS, log_mel, "--data.frames_per_clip=156",
                     "--data.train_on=database", "--data.passes_per_epoch=1"]),
    }  # fmt: skip
    if sonyc is not None:
        cases["siamese"] = (64, ["--config=siamese_plus.yaml", f"--data.root={sonyc}", log_mel,
                                 "--data.frames_per_clip=100", "--data.pairs_per_epoch=2048"])  # fmt: skip
    if fma is not None and musan is not None:
        tracks = ["--data.queries.kinds=[noise]", "--data.queries_per_condition=20", "--data.rooms.num_train=4",
                  f"--data.root={fma}", f"--data.noise.root={musan}", "--data.cache_dir=cache"]  # fmt: skip
        checkpoint = folder / "fingerprinter-1" / "checkpoints" / "last.ckpt"
        cases["fingerprinter"] = (64, ["--config=fingerprinter_small.yaml", *tracks, "--data.segments_per_epoch=512"])
        cases["flowhash"] = (1024, [
            "--config=flowhash_contrast.yaml", *(each.replace("--data.", "--data.corpus.") for each in tracks),
            f"--data.fingerprinter.checkpoint={checkpoint}", "--data.corpus.hop_seconds=0.5",
            "--data.corpus.segments_per_track=10",
        ])  # fmt: skip
    return cases


def measure(arguments: Sequence[str], batch_size: int, num_processes: int, place: Path) -> list[float]:
    """Run a fit and return the seconds of its epochs but the first."""
    run_command(
        ["fit", arguments[0], *_QUIET, *arguments[1:], f"--data.batch_size={batch_size // num_processes}",
         f"--trainer.devices={num_processes}", f"--trainer.default_root_dir={place}",
         f"--trainer.logger.save_dir={place}",
         f"--trainer.strategy={'auto' if num_processes == 1 else 'ddp_fork'}"]
    )  # fmt: skip
    with (place / "log" / "version_0" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        seconds = [float(row["train/epoch_seconds"]) for row in csv.DictReader(file) if row["train/epoch_seconds"]]
    return seconds[1:]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure in alternation and print medians and their ratio; processes have one thread each."""
    parser = argparse.ArgumentParser(description="Measure an epoch of each module in one and two processes.")
    for name in ("sonyc", "fma", "musan"):
        parser.add_argument(
            f"--{name}", type=Path, default=None, help="folder of the corpus; without it, fewer modules"
        )
    parser.add_argument("--rounds", type=int, default=3, help="runs of each number of processes, in turn")
    parser.add_argument("--modules", nargs="*", default=None, help="which to measure (all)")
    options = parser.parse_args(arguments)
    table = Table(title="Median seconds of an epoch, one global batch; shared cores make them noisy")
    for heading in ("module", "global batch", "1 process", "2 processes", "ratio", "range of the ratio"):
        table.add_column(heading, justify="left" if heading == "module" else "right")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)  # for caches
        cases = list_cases(folder, options.sonyc, options.fma, options.musan)
        for module, (batch_size, given) in cases.items():
            if options.modules and module not in options.modules:
                continue
            rounds = [
                [measure(given, batch_size, number, folder / f"{module}-{number}") for number in (1, 2)]
                for _ in range(options.rounds)
            ]
            one, two = (statistics.median(second for each in rounds for second in each[row]) for row in (0, 1))
            ratios = sorted(statistics.median(each[0]) / statistics.median(each[1]) for each in rounds)
            table.add_row(module, str(batch_size), f"{one:.3f}", f"{two:.3f}", f"{one / two:.2f}",
                          f"{ratios[0]:.2f} to {ratios[-1]:.2f}")  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
