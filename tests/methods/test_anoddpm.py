"""AnoDDPM: what simplex noise changes."""

from __future__ import annotations

import pytest
import torch

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.diffusion import AnoDDPM, AnoDDPMOptions
from unremarkable.methods.simplex import draw_tables, fractal_noise


def small(channels: int = 1, **options: object) -> AnoDDPM:
    torch.manual_seed(0)
    chosen = AnoDDPMOptions(**{"widths": (8, 16), "blocks": 1, "attention": (), **options})
    return AnoDDPM(chosen, (16, 24), channels).eval()


def test_noise_is_a_slice_at_the_level_with_a_table_for_each_channel() -> None:
    method = small(channels=2, octaves=3, persistence=0.5, frequency=8.0)
    levels = torch.tensor([7, 600, 7])
    noise = method.draw(levels, torch.Generator().manual_seed(4))
    assert noise.shape == (3, 2, 16, 24)
    tables = draw_tables(6, torch.device("cpu"), torch.Generator().manual_seed(4))
    for image in range(3):
        for channel in range(2):
            table = tables[2 * image + channel][None]
            expected = fractal_noise(table, levels[image][None], (16, 24), 3, 0.5, 8.0)[0]
            torch.testing.assert_close(noise[image, channel], expected)
    assert not torch.equal(noise[0], noise[2])
    assert not torch.equal(noise[0, 0], noise[0, 1])


def test_published_noise_has_the_deviation_that_the_page_states() -> None:
    method = AnoDDPM(AnoDDPMOptions(widths=(8, 16), blocks=1), (64, 64), 1)
    noise = method.draw(torch.arange(1, 1001, 25), torch.Generator().manual_seed(0))
    assert noise.std().item() == pytest.approx(0.6, abs=0.05)
    assert noise.mean().item() == pytest.approx(0, abs=0.05)


def test_training_noise_comes_from_the_global_generator() -> None:
    method, levels = small(), torch.tensor([1, 2])
    torch.manual_seed(1)
    first, second = method.draw(levels), method.draw(levels)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(method.draw(levels), first)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_scoring_is_repeatable_and_knows_no_batch(eta: float) -> None:
    method = small(start=20, calls=3, trained=20, eta=eta)
    for parameter in method.average.buffers():
        torch.nn.init.normal_(parameter, std=0.1)
    images = torch.rand(3, 1, 16, 24)
    with torch.no_grad():
        together = method.predict(images)
        torch.manual_seed(99)
        assert torch.equal(method.predict(images).map, together.map)
        alone = torch.cat([method.predict(image[None]).score for image in images])
    torch.testing.assert_close(alone, together.score, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "text", [{"octaves": "0"}, {"frequency": "0"}, {"persistence": "nan"}, {"calls": "300"}], ids=str
)
def test_options_out_of_range_are_refused(text: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        make_options(AnoDDPM, text)
