"""A fit that is killed goes on where it was, and ends with the same weights as one that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def fit(phantoms: Path, model: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "unremarkable.cli.main", "fit", str(phantoms), "-o", str(model)]
    command += ["--method", "autoencoder", "--size", "64", "--set", "epochs=4", "--set", "batch_size=16"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_and_resumed(phantoms: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    undisturbed = fit(phantoms, whole)
    killed = fit(phantoms, cut)
    checkpoint = tmp_path / "cut.run" / "checkpoint.pt"
    while not checkpoint.exists() and killed.poll() is None:
        time.sleep(0.002)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert undisturbed.wait() == 0, undisturbed.communicate()[1]
    assert not cut.exists(), "killed too late to tell anything"
    resumed = fit(phantoms, cut)
    _, printed = resumed.communicate()
    assert resumed.returncode == 0, printed
    assert (cut / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert not checkpoint.exists()
