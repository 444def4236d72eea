"""hetero-ae: parameters and operations of every row of the paper's Tables II and III, beside what the paper states.

The networks are built without memory (torch's meta device) and asked for the maps of one grey 256 × 256 image; nothing
is computed. Counted are convolutions, matrix products and attention. A multiplication with its addition is one
operation, as papers usually count; `benchmark.measure` counts two.

python benchmarks/hetero_ae_sizes.py [--record]
"""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from record import markdown, parser, publish
from unremarkable.methods.hetero_ae import HeteroAE, HeteroAEOptions
from unremarkable.networks.feature_decoder import Kind

SIZE = (256, 256)
#: row of the paper, our encoder and decoder, 10⁶ parameters and 10⁹ operations that it states
TABLE: tuple[tuple[str, str, Kind, str, str], ...] = (
    ("II ResNet – ResNet", "resnet18", "resnet", "13", "39"),
    ("II EfficientNet – EfficientNet", "efficientnet-lite0", "efficientnet", "20", "26"),
    ("II CNN+Trans – CNN+Trans", "hybrid", "hybrid", "21", "30"),
    ("II ResNet – Swin", "resnet18", "swin", "30", "48"),
    ("II ResNet – PVT", "resnet18", "pvt", "23", "45"),
    ("II ResNet – CMT", "resnet18", "cmt", "24", "39"),
    ("II ResNet – HCTN", "resnet18", "hybrid", "17", "33"),
    ("III CNN+CNN", "resnet18", "cnn", "17.90", ""),
    ("III Trans+Trans", "resnet18", "transformer", "16.74", ""),
    ("III CNN+Trans (HCTN)", "resnet18", "hybrid", "17.32", ""),
    ("our default", "efficientnet-lite0", "hybrid", "", ""),
)


def main() -> None:
    """Build each, count, tabulate."""
    arguments = parser(__doc__ or "")
    chosen = arguments.parse_args()
    rows = []
    for row, encoder, decoder, parameters, operations in TABLE:
        with torch.device("meta"):
            method = HeteroAE(HeteroAEOptions(encoder=encoder, decoder=decoder), SIZE, 1).eval()
            image = torch.empty(1, 1, *SIZE)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            method.stage_maps(image)
        parts = [sum(p.numel() for p in part.parameters()) for part in (method.encoder, method.decoder)]
        ours = [f"{count / 1e6:.2f}" for count in (*parts, sum(parts))]
        counted = counter.get_total_flops() / 2e9
        rows.append((row, encoder, decoder, *ours, parameters, f"{counted:.2f}", operations))
    header = ("row", "encoder", "decoder", "10⁶ encoder", "decoder", "in all", "paper", "10⁹ operations", "paper")
    publish("hetero-ae-sizes", markdown(header, rows), record=chosen.record)


if __name__ == "__main__":
    main()
