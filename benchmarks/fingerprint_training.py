"""Measure the training of a fingerprinter: python benchmarks/fingerprint_training.py --config fingerprinter.yaml."""

import argparse
import os
from collections.abc import Sequence

# faiss and torch bring an OpenMP pool each; spinning threads of one slow the other. Set before either is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from rich.console import Console

from benchmarks.tables import print_measurements
from benchmarks.training_step import (
    PRECISIONS,
    TrainingBenchmark,
    measure_ceilings,
    measure_device_search,
)
from experiments.command.cli import run_command
from lightning_modules import Fingerprinter
from lightning_modules.device import find_device

_ONE_STEP = (
    "--trainer.max_steps=1", "--trainer.limit_val_batches=0", "--trainer.logger=false", "--trainer.callbacks=[]",
    "--trainer.enable_checkpointing=false", "--trainer.enable_model_summary=false", "--test_after_fit=false",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure as the command line asks and print tables; options that it does not know go to `train.py fit`."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description="Measure steps, their parts and their distance from the device's ceilings; other options are "
        "train.py's, such as --config fingerprinter.yaml --data.root DIR.",
    )
    parser.add_argument("--num_steps", type=int, default=50, help="steps to time")
    parser.add_argument("--matrix_size", type=int, default=8192, help="rows of the product that gives the ceiling")
    parser.add_argument("--compile", action="store_true", help="measure a compiled encoder too")
    parser.add_argument("--search_items", type=int, default=0, help="fingerprints to search on the device; 0 for none")
    options, training = parser.parse_known_args(arguments)
    cli = run_command(["fit", *training, *_ONE_STEP])
    if not isinstance(cli.model, Fingerprinter):
        parser.error(f"expected the config of a fingerprinter; got one of {type(cli.model).__name__}")
    device, console = find_device(), Console(width=120)
    ceilings = measure_ceilings(device, options.matrix_size)
    console.print(f"Ceilings of {device}: {ceilings}")
    data = cli.datamodule
    loader = data.train_dataloader()
    benchmark = TrainingBenchmark(cli.model.to(device), next(iter(loader)), data.expand, options.num_steps)
    console.print(f"A step: {benchmark.num_flops / 1e9:,.0f} billion operations, {benchmark.num_bytes / 1e9:.2f} GB")
    kinds = (False, True) if options.compile else (False,)
    steps = [benchmark.steps(each, ceilings, is_compiled=kind) for kind in kinds for each in PRECISIONS]
    print_measurements(console, "Steps", steps)
    for precision in PRECISIONS:
        print_measurements(console, f"Parts, {precision}", benchmark.parts(precision, loader))
    if options.search_items:
        print_measurements(
            console, "Exact search on the device", [measure_device_search(device, options.search_items, ceilings)]
        )


if __name__ == "__main__":
    main()
