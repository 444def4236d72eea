"""Training throughput of GANomaly with its published widths, images per second through the real training loop.

Random images: what a step costs does not depend on what they show. Each epoch is timed as the loop times it, with
loading, both updates and the checks of the losses; the first warms up and is not counted.

python benchmarks/ganomaly_throughput.py [--size 256] [--batch 16] [--steps 3] [--rounds 3] [--record]
"""

from __future__ import annotations

import statistics

import numpy as np
import torch

from record import markdown, parser, publish
from unremarkable.methods.ganomaly import GANomaly, GANomalyOptions
from unremarkable.networks.allocator import reuse_memory
from unremarkable.training.loop import train
from unremarkable.training.machine import resolve
from unremarkable.training.settings import TrainSettings


def main() -> None:
    """Train for a few epochs and tabulate their speed."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--size", type=int, default=256)
    arguments.add_argument("--batch", type=int, default=16)
    arguments.add_argument("--channels", type=int, default=1)
    arguments.add_argument("--steps", type=int, default=3, help="in each epoch")
    arguments.add_argument("--rounds", type=int, default=3, help="epochs that count")
    arguments.add_argument("--precision", default="auto", help="auto, 32 or bf16")
    chosen = arguments.parse_args()
    reuse_memory()
    torch.manual_seed(0)
    options = GANomalyOptions(batch_size=chosen.batch, epochs=chosen.rounds + 1)
    method = GANomaly(options, (chosen.size, chosen.size), chosen.channels)
    shape = (chosen.steps * chosen.batch, chosen.channels, chosen.size, chosen.size)
    images = np.random.default_rng(0).random(shape, dtype=np.float32)
    settings = TrainSettings(precision=chosen.precision)
    (phase,) = train(method, images, None, settings, progress=True).phases
    speeds = [len(images) / epoch.seconds for epoch in phase.epochs[1:]]
    weights = sum(parameter.numel() for parameter in method.parameters())
    rows = [(f"{statistics.median(speeds):.2f}", f"{min(speeds):.2f} to {max(speeds):.2f}")]
    machine = resolve(settings)
    text = (
        f"{chosen.size} × {chosen.size} px, {chosen.channels} channel(s), batch {chosen.batch}, widths"
        f" {options.generator_width} and {options.discriminator_width}, {weights / 1e6:.0f} million weights;"
        f" {machine.device}, {machine.precision}, {torch.get_num_threads()} thread(s);"
        f" {chosen.rounds} epochs of {chosen.steps} steps.\n\n"
    )
    publish("ganomaly-throughput", text + markdown(("images/s, median", "range"), rows), record=chosen.record)


if __name__ == "__main__":
    main()
