"""Averages by a power of time: formulae by quadrature and by definition, and any length out of two that are kept."""

from collections.abc import Callable
from itertools import pairwise
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import run_all, tiny
from safetensors.torch import load_file, save_file

from ancestral.errors import CannotWrite, InputError
from ancestral.settings import Config
from ancestral.training.average_shares import Profile, shares_for
from ancestral.training.checkpoint import save_checkpoint
from ancestral.training.ema import PowerAverages
from ancestral.training.kept_averages import read_averages
from ancestral.training.power_average import LONGEST, PROFILES, gamma_of, length_of
from ancestral.training.run import RunFolder
from ancestral.training.snapshots import is_due, save_snapshot, snapshot_files, spacing

STEPS = 300
WALK = torch.randn(STEPS, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).cumsum(0) / 30 + 3
"""Weights after each update: a random walk, whose averages of every length differ."""


def density(profile: Profile, tau: np.ndarray) -> np.ndarray:
    """(1), at times tau."""
    gamma, t = gamma_of(profile.length), profile.updates
    return np.where(tau <= t, (gamma + 1) / t * (np.minimum(tau, t) / t) ** gamma, 0.0)


def averaged(lengths: dict[str, float], taken: torch.Tensor | None = None) -> PowerAverages:
    """Averages that were kept along the walk; `taken` (STEPS,): where a step was."""
    averages = PowerAverages({"w": torch.full((5,), 99.0, dtype=torch.float64)}, lengths)
    updates = torch.zeros((), dtype=torch.float64)
    for k, weights in enumerate(WALK):
        is_taken = torch.tensor(True) if taken is None else taken[k]
        averages.update({"w": weights}, updates, is_taken)
        updates += is_taken
    return averages


@pytest.mark.parametrize("length", [0.01, 0.05, 0.1, 0.2, LONGEST])
def test_a_length_is_the_deviation_of_its_profile(length: float) -> None:
    points, weights = np.polynomial.legendre.leggauss(400)
    tau, weights = (points + 1) / 2, weights / 2
    p = density(Profile(length, 1.0), tau)
    mean = (weights * p * tau).sum()
    assert (weights * p).sum() == pytest.approx(1, rel=1e-9)
    assert sqrt((weights * p * (tau - mean) ** 2).sum()) == pytest.approx(length, rel=1e-9)
    assert length_of(gamma_of(length)) == pytest.approx(length, rel=1e-12)


def test_an_average_is_the_sum_of_weights_that_its_definition_says() -> None:
    """Traps: an update late or early; a start that is not forgotten; steps that were not taken, counted."""
    taken = torch.rand(STEPS, generator=torch.Generator().manual_seed(2)) > 0.1
    taken[0] = False
    walked, lengths = WALK[taken], {"short": 0.05, "long": 0.1, "longer": 0.25}
    k, t = torch.arange(1, len(walked) + 1, dtype=torch.float64), len(walked)
    found = averaged(lengths, taken)
    for name, length in lengths.items():
        gamma = gamma_of(length)
        shares = (k / t) ** (gamma + 1) - ((k - 1) / t) ** (gamma + 1)
        torch.testing.assert_close(found.means[name]["w"], shares @ walked, rtol=1e-12, atol=0)


@pytest.mark.parametrize("length", [0.02, 0.07, 0.15, 0.25])
def test_the_combination_is_the_best_and_its_residual_that_of_the_profile(length: float) -> None:
    """By sums over a fine grid: what is said to be missed is missed, and no other shares that add up to 1 miss less."""
    kept, wanted = [Profile(each, t) for each in PROFILES.values() for t in (40, 80, 120, 160)], Profile(length, 160)
    tau = (np.arange(16_000) + 0.5) / 100
    basis, r = np.stack([density(each, tau) for each in kept]), density(wanted, tau)

    def missed(shares: np.ndarray) -> float:
        return float(np.linalg.norm(r - shares @ basis) / np.linalg.norm(r))

    found = shares_for(wanted, kept)
    shares = found.shares.numpy()
    assert shares.sum() == pytest.approx(1, abs=1e-12)
    assert found.residual == pytest.approx(missed(shares), rel=1e-3)
    moves = np.random.default_rng(0).normal(size=(20, len(kept))) * 0.03
    assert all(missed(shares + move - move.mean()) > missed(shares) for move in moves)


@pytest.mark.parametrize("length", PROFILES.values())
def test_a_kept_average_is_found_again(length: float) -> None:
    kept = [Profile(each, t) for each in PROFILES.values() for t in range(16, STEPS + 1, 16)]
    wanted = kept[7]._replace(length=length)
    found = shares_for(wanted, kept)
    assert found.residual < 1e-6
    assert found.shares.tolist() == pytest.approx([float(each == wanted) for each in kept], abs=1e-6)


def kept_in(folder: Path, most: int) -> RunFolder:
    """A run whose averages were kept along the walk, in float32, as a run does."""
    run = RunFolder(folder)
    averages, updates = PowerAverages({"w": torch.zeros(5, dtype=torch.float64)}, PROFILES), torch.zeros(())
    for step, weights in enumerate(WALK, start=1):
        averages.update({"w": weights}, updates)
        updates += 1
        if is_due(step, most):
            save_snapshot(run.averages, step, step, in_float32(averages), most)
    groups = {"ema": {"w": torch.zeros(5)}, **in_float32(averages)}
    state = {"step": STEPS, "images": 0, "seconds": 0.0, "ema_updates": STEPS, "skipped": 0, "window": [0.0] * 10}
    save_checkpoint(run.checkpoints, STEPS, groups, {**state, "data": "", "log_bytes": 0}, keep=1)
    return run


def in_float32(averages: PowerAverages) -> dict[str, dict[str, torch.Tensor]]:
    return {group: {name: each.float() for name, each in means.items()} for group, means in averages.means.items()}


def test_any_length_is_rebuilt_as_if_it_had_been_kept(tmp_path: Path) -> None:
    """Out of 32 snapshots at most, within what the residual of its profile allows of this walk (Cauchy and Schwarz),
    and within three hundredths of what the weights have moved."""
    lengths = {str(each): each for each in (0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25)}
    along, kept = averaged(lengths), read_averages(kept_in(tmp_path, 32), pytest.fail)
    moved = (WALK - WALK.mean(0)).norm(dim=0)
    for name, length in lengths.items():
        weights, residual = kept.rebuilt(length)
        gamma = gamma_of(length)
        profile = (gamma + 1) / sqrt((2 * gamma + 1) * STEPS)
        apart = (weights["w"].double() - along.means[name]["w"]).abs()
        assert bool((apart <= residual * profile * moved + 1e-5).all()), (length, apart, residual)
        assert bool((apart < 0.03 * moved / sqrt(STEPS)).all()), (length, apart)
    assert float((along.means["0.02"]["w"] - along.means["0.25"]["w"]).abs().max()) > 0.1, "lengths differ here"


def test_weights_that_do_not_move_are_rebuilt_as_they_are() -> None:
    """Trap: without its last equation (2) leaves the longest average 2 % short of weights that never change."""
    kept = [Profile(each, t) for each in PROFILES.values() for t in range(64, 1025, 64)]
    for length in (0.02, 0.25, LONGEST):
        assert float(shares_for(Profile(length, 1024), kept).shares.sum()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("most", [2, 7, 16])
def test_snapshots_are_bounded_and_even_at_every_step(most: int) -> None:
    kept = list[int]()
    for step in range(1, 700):
        if is_due(step, most):
            kept = [each for each in kept if each % spacing(step, most) == 0] + [step]
        assert len(kept) <= most and (step < most or len(kept) > (most - 1) // 2)
        assert set(range(spacing(step, most), step + 1, spacing(step, most))) <= {*kept}
        assert len({after - before for before, after in pairwise(kept)}) <= 1


KEPT = {"training": {"ema_snapshots": 4}}


def test_keeping_them_changes_nothing_else(tmp_path: Path, whole: Callable[[Config], Path]) -> None:
    """Weights, average, moments, log and pipeline are the bytes of a run without; the average at the end is the sum
    of its definition, of the weights after each step."""
    plain, run = whole(tiny()), whole(tiny(KEPT))
    assert [*snapshot_files(run / "averages")] == [4, 8, 12]
    last, before = (folder / "checkpoints/step-00000012" for folder in (run, plain))
    for name in ("model", "ema", "optimizer"):
        assert (last / f"{name}.safetensors").read_bytes() == (before / f"{name}.safetensors").read_bytes()
    pipeline = "pipeline/unet/diffusion_pytorch_model.safetensors"
    assert all((run / name).read_bytes() == (plain / name).read_bytes() for name in ("log.jsonl", pipeline))
    every = tiny({"training": {"checkpoint_every_steps": 1, "keep_checkpoints": 12}})
    weights = [load_file(path / "model.safetensors") for path in sorted((whole(every) / "checkpoints").glob("step-*"))]
    kept = read_averages(RunFolder(run), pytest.fail)
    assert {profile.updates for profile, _ in kept.sources} == {4, 8, 12}
    for length, found, miss in ((0.1, load_file(last / "ema_long.safetensors"), 1e-6), (0.07, *kept.rebuilt(0.07))):
        gamma = gamma_of(length)
        shares = [(k / 12) ** (gamma + 1) - ((k - 1) / 12) ** (gamma + 1) for k in range(1, 13)]
        for name, weight in load_file(last / "ema_long.safetensors").items():
            wanted = sum(share * each[name].double() for share, each in zip(shares, weights, strict=True))
            moved = max(float((each[name] - weight).abs().max()) for each in weights)
            torch.testing.assert_close(found[name].double(), wanted, rtol=1e-4, atol=1e-6 + 2 * miss * moved)


def test_what_was_not_kept_from_the_beginning_is_not_kept(run: Path) -> None:
    """An average that begins late is none of its length: a run without goes on without, and is told so by name."""
    with pytest.raises(InputError, match=r"trained with training\.ema_snapshots = null, not 4; repeat its settings"):
        run_all(tiny(KEPT), run)
    assert len(run_all(tiny({"training": {"steps": 13}}), run)) == 1
    with pytest.raises(InputError, match=r"which has kept none; train into another folder with --training\.ema_snap"):
        read_averages(RunFolder(run), pytest.fail)


def test_a_damaged_snapshot_is_said_and_left_out(tmp_path: Path) -> None:
    run, said = kept_in(tmp_path, 8), list[str]()
    _, wrong, cut, *_ = snapshot_files(run.averages).values()
    save_file(
        {name: each + 1 for name, each in load_file(wrong).items()},
        wrong,
        {"snapshot": '{"updates": 64, "digest": "0"}'},
    )
    cut.write_bytes(cut.read_bytes()[:-3])
    kept = read_averages(run, said.append)
    assert len(said) == 2 and all("is damaged" in line and line.endswith("left out") for line in said)
    assert {profile.updates for profile, _ in kept.sources} == {32, 128, 160, 192, 224, 256, 300}


def test_a_full_disk_is_said_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    averages = {group: {"w": torch.zeros(4)} for group in PROFILES}
    save_snapshot(tmp_path / "averages", 1, 1, averages, 4)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(CannotWrite, match=r"it needs 1,048,608 bytes and 10 are free; earlier checkpoints are untouch"):
        save_snapshot(tmp_path / "averages", 2, 2, averages, 4)
    assert [*snapshot_files(tmp_path / "averages")] == [1]
