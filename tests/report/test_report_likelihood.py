"""The likelihood on the page: its numbers, what they were measured on, and what is said where there are none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_html import Seen
from test_report_page import settings, untrained

from ancestral.diffusion.schedules import cosine, log_snr_linear, zero_terminal_snr
from ancestral.errors import InputError
from ancestral.evaluation.likelihood import FILE, Likelihood, Stretch
from ancestral.report.facts import read_facts
from ancestral.report.measurements import likelihood, plain

CHECK = {
    "num_images": 16,
    "steps": 90,
    "probes": 4,
    "bound": {"value": 3.125, "standard_error": 0.25},
    "flow": {"value": 2.5, "standard_error": 0.25},
    "difference": {"value": 0.625, "standard_error": 0.0625},
}


def measured(weights: str = "0" * 16, **changes: Any) -> dict[str, Any]:
    """A likelihood over T = 40 in four stretches, of numbers that are easy to find again."""
    stretches = [
        {"t": t, "s": s, "log_snr": 0.0, "bits": bits, "standard_error": 0.01, "rmse": rmse}
        for t, s, bits, rmse in ((40, 30, 0.125, 80.0), (30, 20, 0.5, 40.0), (20, 10, 0.5, 20.0), (10, 1, 0.375, 5.0))
    ]
    amounts = {"total": 2.0, "prior": 0.125, "diffusion": 1.5, "reconstruction": 0.375}
    return {
        "part": "test", "num_images": 1234, "dims": 64, "num_timesteps": 40, "steps": 40, "timesteps": 32, "seed": 7,
        "weights": weights, "given_classes": False,
        **{name: {"value": value, "standard_error": 0.0125} for name, value in amounts.items()},
        "error_from_images": 0.01, "error_from_timesteps": 0.0075, "stretches": stretches, "seconds": 90.0, **changes,
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCESTRAL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return untrained(tmp_path_factory.mktemp("runs") / "it's <a> run", settings(source="digits"))


@pytest.fixture
def shown(run: Path) -> Callable[..., str]:
    """The section of a run with such a likelihood.json; None: without."""
    facts = read_facts(run)

    def show(values: dict[str, Any] | None) -> str:
        (run / FILE).unlink(missing_ok=True)
        if values is not None:
            (run / FILE).write_text(json.dumps({"weights": facts.pipeline.weights_hash()} | values))
        return likelihood(facts)

    return show


def test_the_bound_stands_with_its_error_terms_and_what_it_was_measured_on(
    shown: Callable[..., str], run: Path
) -> None:
    section = shown(measured(read_facts(run).pipeline.weights_hash()))
    text = Seen(section).text
    assert "2.000 ± 0.013 bits/dim" in text and "25.0% of its 8 bits" in text
    for row in ("0.125 ± 0.0136.2%", "1.500 ± 0.01375.0%", "0.375 ± 0.01318.8%", "2.000 ± 0.013100.0%"):
        assert row in text
    assert "1,234 of the test part, 64 numbers each" in text and "40 steps of T = 40" in text
    assert "32 drawn for each image" in text and "not told to the network" in text and "1.5 minutes" in text
    assert "0.01 from the choice of images and 0.0075 from that of timesteps" in text
    assert section.count("<img") == 2 and "Out of date" not in text and "Cross-check" not in text


def test_a_bound_of_more_timesteps_than_the_run_has_is_drawn(shown: Callable[..., str]) -> None:
    """Trap: timesteps of the finer chain looked up in the run's own table."""
    far = measured(num_timesteps=40_000)
    far["stretches"] = [{**row, "t": 1000 * row["t"], "s": max(1000 * row["s"], 1)} for row in far["stretches"]]
    assert shown(far).count("<img") == 2


def test_numbers_of_other_weights_are_said_to_be_out_of_date(shown: Callable[..., str]) -> None:
    text = Seen(shown(measured("f" * 16))).text
    assert "Out of date" in text and "f" * 16 in text and "2.000 ± 0.013" in text


def test_the_flow_check_is_shown_where_there_is_one(shown: Callable[..., str]) -> None:
    text = Seen(shown(measured(flow=CHECK))).text
    assert "Cross-check on 16 images" in text and "(90 steps, 4 probes of the divergence)" in text
    for number in ("3.12 ± 0.25", "2.50 ± 0.25", "0.625 ± 0.062"):
        assert number in text
    assert "exact divergence" in Seen(shown(measured(flow={**CHECK, "probes": 0}))).text


def test_a_run_not_measured_says_how(shown: Callable[..., str]) -> None:
    section = shown(None)
    assert "Not measured yet" in section and "<a>" not in section
    assert """ancestral likelihood '""" in Seen(section).text


def test_a_chain_without_inner_steps_has_no_pictures(shown: Callable[..., str]) -> None:
    section = shown(measured(stretches=[], steps=1, timesteps=0))
    assert "<img" not in section and "2.000 ± 0.013" in section


@pytest.mark.parametrize("text", ["{", '{"part": "test"}', "[]"])
def test_a_file_that_cannot_be_read_is_named_before_anything_is_drawn(run: Path, text: str) -> None:
    (run / FILE).write_text(text)
    with pytest.raises(InputError, match=r"likelihood\.json"):
        likelihood(read_facts(run))
    (run / FILE).unlink()


def test_stretches_lie_where_the_schedule_puts_them() -> None:
    """Trap: a picture over t, or over middles, on which bits of unlike stretches have unlike areas."""
    result = Likelihood.model_validate(measured())
    schedule = log_snr_linear(40, 10.0, -29.0)
    terms = plain(result, schedule)
    np.testing.assert_allclose(terms.log_snr, [-29, -19, -9, 1, 10], atol=1e-9)
    assert terms.received[-1] + terms.reconstruction == pytest.approx(terms.total)


def test_no_signal_at_the_end_is_a_stretch_of_some_length() -> None:
    result = Likelihood.model_validate(measured())
    schedule = zero_terminal_snr(cosine(40))
    found = plain(result, schedule).log_snr
    assert found[0] == found[1] - 1 and np.isfinite(found).all()
    one = (Stretch(t=40, s=39, log_snr=0.0, bits=1.0, standard_error=0.1, rmse=1.0),)
    assert np.isfinite(plain(result.model_copy(update={"stretches": one}), schedule).log_snr).all()
