"""The comparison of recipes: variants are what they say, budgets are equal in minutes, the table is of the runs."""

import pytest

from benchmarks.recipe_variants import BASES
from benchmarks.recipes import budget, recipe, table


@pytest.mark.parametrize("base", BASES)
def test_every_variant_is_a_recipe_that_differs_from_its_base(base: str) -> None:
    variants = [recipe(base, changes).model_dump_json() for changes in BASES[base].variants.values()]
    assert len(set(variants)) == len(variants)


def test_a_slower_variant_sees_fewer_images_in_the_same_minutes() -> None:
    assert budget(minutes=0.5, rate=100.0, ratio=1.0) == 3000
    assert budget(minutes=0.5, rate=100.0, ratio=0.4) == 1200


def test_the_table_ranks_means_of_seeds_and_states_their_error() -> None:
    def run(frechet: float) -> dict[str, float]:
        return {"frechet": frechet, "kernel": 0.0, "held_out_loss": 0.1, "images": 1000}

    speeds = {name: {"ratio": 1.0, "images_per_second": 9.0} for name in ("a", "b/c")}
    text = table({"speeds": speeds, "runs": {"a/0": run(1.0), "a/1": run(3.0), "b/c/0": run(1.5)}})
    rows = text.splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| b/c", "| a"]
    assert "| 1.50 |" in rows[0] and "| 2.00 ± 1.00 |" in rows[1]
    assert "agreement" not in text
