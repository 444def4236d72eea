"""The attention of MSTB against plain multi-head attention: operations counted exactly, and time.

The paper (III.C) claims nearly 90 % less: from 2(HW)²C + 4HWC² to 0.15(HW)²C + 3.75HWC² operations with patches of 4
and 8. Both attentions are measured on the same features, each with everything it needs: for MSTB patch embeddings,
projections and both groups of heads (it has no output projection), for plain attention the four projections. Positions
are added in both; layer norm and perceptron, which both have, are left out of both. A multiplication with its addition
counts as one operation. Time is the processor's for forward and backward of a batch in float32, the two in turn, the
median of the rounds.

python benchmarks/attention_cost.py [--rounds 7] [--batch 4] [--record]
"""

from __future__ import annotations

import copy
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from record import markdown, parser, publish
from unremarkable.networks.feature_decoder import STAGES
from unremarkable.networks.mstb import MultiScaleSparseTransformer
from unremarkable.networks.tokens import join_heads, position, split_heads, to_tokens

#: side of the grid and stage: the three that the decoder has at 256 pixels, then the finest at 512
CASES = ((8, 3), (16, 2), (32, 1), (64, 1))


class PlainAttention(nn.Module):
    """Every location asks every location."""

    def __init__(self, channels: int, side: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.position = position(side * side, channels)
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.project = nn.Linear(channels, channels, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """`(N, H·W, C)` of features `(N, C, H, W)`."""
        query, key, value = self.qkv(to_tokens(features) + self.position).chunk(3, dim=-1)
        query, key, value = (split_heads(x, self.heads) for x in (query, key, value))
        return self.project(join_heads(F.scaled_dot_product_attention(query, key, value)))


class Sparse(MultiScaleSparseTransformer):
    """The block up to Z, without layer norm and perceptron."""

    def forward(self, features: Tensor) -> Tensor:
        return self.attend(features)


def main() -> None:
    """Count and time each case, tabulate."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--batch", type=int, default=4)
    chosen = arguments.parse_args()
    rows = []
    for side, number in CASES:
        stage = STAGES[number - 1]
        features = torch.randn(chosen.batch, stage.width, side, side)
        sparse = Sparse(stage.width, (side, side), stage.heads, stage.patches)
        plain = PlainAttention(stage.width, side, stage.heads)
        counted = operations(sparse, features), operations(plain, features)
        locations = side * side
        whole = 2 * locations**2 * stage.width + 4 * locations * stage.width**2
        claim = 1 - (0.15 * locations**2 * stage.width + 3.75 * locations * stage.width**2) / whole
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(chosen.rounds + 1):
            times[0].append(seconds(sparse, features))
            times[1].append(seconds(plain, features))
        taken = [statistics.median(each[1:]) for each in times]  # the first warms up
        rows.append(
            (
                f"{side} × {side}",
                stage.width,
                f"{stage.patches[0]}, {stage.patches[1]}",
                f"{counted[1] / 1e6:.1f}",
                f"{counted[0] / 1e6:.1f}",
                f"{1 - counted[0] / counted[1]:.1%}",
                f"{claim:.1%}" if number == 1 else "",
                f"{1e3 * taken[1]:.1f}",
                f"{1e3 * taken[0]:.1f}",
                f"{1 - taken[0] / taken[1]:.0%}",
            )
        )
        print(rows[-1], flush=True)
    header = ("grid", "C", "p", "10⁶ plain", "MSTB", "less", "by the paper's formula", "ms plain", "MSTB", "less")
    threads = f"{torch.get_num_threads()} thread(s)"
    text = f"Operations for one image; processor time for forward and backward of {chosen.batch} images, {threads}."
    publish("attention-cost", f"{text}\n\n{markdown(header, rows)}", record=chosen.record)


def operations(attention: nn.Module, features: Tensor) -> float:
    """Multiplications with their additions for one image.

    On the meta device, where torch spells the attention out: the processor's fused attention is not in its tables.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(attention).to("meta")(features[:1].to("meta"))
    return counter.get_total_flops() / 2


def seconds(attention: nn.Module, features: Tensor) -> float:
    """Processor time of forward and backward, which other work on the machine changes least."""
    started = time.process_time()
    attention(features).square().mean().backward()
    return time.process_time() - started


if __name__ == "__main__":
    main()
