import pytest

from unremarkable.training.plan import stopping_count


@pytest.mark.parametrize(
    ("cases", "held"),
    [(1, 1), (3, 1), (12, 3), (51, 12), (80, 20), (150, 20), (200, 20), (250, 25), (1073, 107)],
    ids=lambda value: str(value),
)
def test_a_tenth_stops_early_and_twenty_at_least_of_a_set_that_has_them(cases: int, held: int) -> None:
    """A quarter of 51 is 12; a quarter of 80 is the 20 wanted; a tenth of 250 is more than that."""
    assert stopping_count(cases) == held
