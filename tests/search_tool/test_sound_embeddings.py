"""A checkpoint alone embeds a folder of sounds, as its run did."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import search
import train
from search_tool.model_records import record_of
from search_tool.sound_embeddings import SoundEmbeddings, load_sound_model
from tests.lightning_modules.frontends.pretrained.test_yamnet import write_keras_release
from tests.replicas.esc50 import make_esc50

FRONTEND = "--model.preprocessing.frontend"
QUIET = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.logger=false"]


@pytest.mark.parametrize("frontend", ["YamNet", "LogMel"])
def test_nothing_but_the_checkpoint_is_needed(frontend: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_keras_release(in_tmp / "yamnet.h5")
    corpus = make_esc50(in_tmp / "corpus", num_classes=3, clips_per_fold=2)
    arguments = [
        "--config=dqn.yaml", *QUIET, f"--data.root={corpus}", "--data.labels_per_class=2", "--model.num_bits=4",
        "--model.num_codewords=4", f"{FRONTEND}=lightning_modules.frontends.{frontend}",
        "--model.preprocessing.center_clips=true", "--model.preprocessing.standardize=true",
    ]  # fmt: skip
    if frontend == "YamNet":
        arguments.append(f"{FRONTEND}.weights={in_tmp / 'yamnet.h5'}")
    once = ["--trainer.max_epochs=1", "--trainer.check_val_every_n_epoch=1", "--test_after_fit=false"]
    train.main(["fit", *arguments, *once, f"--trainer.default_root_dir={in_tmp / 'run'}"])
    checkpoint = in_tmp / "run" / "checkpoints" / "last.ckpt"
    train.main(["predict", *arguments, f"--ckpt_path={checkpoint}", f"--trainer.default_root_dir={in_tmp / 'codes'}"])
    expected = np.load(in_tmp / "codes" / "codes" / "embeddings.npy")
    with (in_tmp / "codes" / "codes" / "items.csv").open(newline="", encoding="utf-8") as table:
        names = [Path(row["name"]).name for row in csv.DictReader(table)]
    content = torch.load(checkpoint, weights_only=True)
    assert content["state_dict"]["preprocessing.is_fitted"]
    assert content["state_dict"]["preprocessing.deviation"].dtype == torch.float64
    assert content["hyper_parameters"]["num_classes"] == 3  # which the data module gave

    shutil.move(corpus / "audio", in_tmp / "mine")
    shutil.copy(checkpoint, in_tmp / "alone.ckpt")
    for place in ("corpus", "run", "codes", "cache"):
        shutil.rmtree(in_tmp / place)
    (in_tmp / "yamnet.h5").unlink()
    assert search.main(["index", "mine", "--index", "sounds", "--model", "alone.ckpt"]) == 0
    capsys.readouterr()
    assert search.main(["query", f"mine/{names[0]}", "--index", "sounds", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["neighbours"]
    assert {path.name for path in (in_tmp / "sounds").iterdir()} == {"search.json", "sources.jsonl", "index"}
    embeddings = SoundEmbeddings(load_sound_model(record_of("alone.ckpt")))
    for name, embedding in zip(names, expected, strict=True):
        np.testing.assert_allclose(embeddings.of_file(in_tmp / "mine" / name)[1], embedding, rtol=0, atol=1e-6)
