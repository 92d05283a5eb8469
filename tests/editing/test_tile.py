"""Tiling: what commutes with rolling has a seam like any other place; what does not shows one."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ancestral.diffusion.parameterization import Prediction, PredictsX0
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import log_snr_linear
from ancestral.diffusion.variances import beta_tilde
from ancestral.editing.canvas import Windows
from ancestral.editing.tile import Circular, MeanOfRolls, RolledEachStep, circular, grid_of_rolls, rolled, seam
from ancestral.errors import InputError
from ancestral.networks.unet import UNet
from ancestral.sampling.denoiser import Denoiser, NetworkDenoiser
from ancestral.sampling.loop import sample
from ancestral.sampling.samplers import DDIM
from ancestral.settings import UNetSettings

SCHEDULE = log_snr_linear(100, 6.0, -6.0)
SIDE = 6


def smoothing() -> nn.Conv2d:
    """A linear network that pulls neighbours together, with zeros around the image as it is trained."""
    layer = nn.Conv2d(1, 1, 3, padding=1, bias=False, dtype=torch.float64)
    kernel = torch.tensor([[0.05, 0.1, 0.05], [0.12, 0.2, 0.12], [0.05, 0.15, 0.05]], dtype=torch.float64)
    nn.init.zeros_(layer.weight).data.add_(kernel)
    return layer


def denoiser(layer: nn.Module) -> Denoiser:
    diffusion = GaussianDiffusion(SCHEDULE, PredictsX0(), beta_tilde)
    return NetworkDenoiser(diffusion, lambda x, time: layer(x))


def expected_ratio(denoise: Denoiser, steps: int = 20) -> float:
    """E[square across the seam] / E[square within] over all x_T ~ N(0, I), exactly: a linear chain's response to each
    element of x_T, whose squares add up.
    """
    units = torch.eye(SIDE**2, dtype=torch.float64).reshape(-1, 1, SIDE, SIDE)
    with torch.no_grad():
        *_, end = sample(denoise, DDIM(SCHEDULE), units, SCHEDULE.uniform_log_snr(steps), lambda: units)
    return float(seam(end.x_s).ratio)


def test_without_tiling_the_seam_shows() -> None:
    assert expected_ratio(denoiser(smoothing())) > 3


def test_with_circular_padding_the_seam_is_like_the_interior() -> None:
    layer = smoothing()
    with circular(layer):
        assert expected_ratio(denoiser(layer)) == pytest.approx(1, abs=1e-12)
    assert expected_ratio(denoiser(layer)) > 3, "the padding is put back"


def test_a_circular_denoiser_pads_around_while_it_is_called_and_not_between_two_steps() -> None:
    layer = smoothing()
    around = Circular(denoiser(layer), (layer,))
    units = torch.eye(SIDE**2, dtype=torch.float64).reshape(-1, 1, SIDE, SIDE)
    for step in sample(around, DDIM(SCHEDULE), units, SCHEDULE.uniform_log_snr(3), lambda: units):
        assert layer.padding_mode == "zeros"
        end = step.x_s
    assert float(seam(end.detach()).ratio) == pytest.approx(1, abs=1e-12)


def test_the_mean_over_all_rolls_has_no_seam_at_all() -> None:
    every = grid_of_rolls(SIDE, SIDE, SIDE, SIDE)
    assert len(set(every)) == SIDE**2
    assert expected_ratio(MeanOfRolls(denoiser(smoothing()), every), 6) == pytest.approx(1, abs=1e-12)


def test_a_roll_a_step_mends_what_it_tears() -> None:
    """20 steps with one call each: within a tenth of the interior, where the plain chain is four times it."""
    assert expected_ratio(RolledEachStep(denoiser(smoothing()))) == pytest.approx(1, abs=0.1)


def test_windows_around_the_edges_have_no_seam() -> None:
    assert expected_ratio(Windows(denoiser(smoothing()), 4, 4, 1, wraps=True), 6) == pytest.approx(1, abs=1e-12)


SMALL = UNetSettings(widths=(8, 8), layers=1, attention=(1,), norm_groups=4)


def unet() -> UNet:
    torch.manual_seed(0)
    network = UNet(SMALL, 3, 3).double().eval()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


def rolls_with(network: UNet, shift: tuple[int, int]) -> bool:
    x, time = torch.randn(1, 3, 8, 8, generator=torch.manual_seed(1), dtype=torch.float64), torch.zeros(1)
    with torch.no_grad():
        there = network(x.roll(shift, (-2, -1)), time)
        return torch.allclose(there, network(x, time).roll(shift, (-2, -1)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("shift", [(2, 0), (0, 4), (6, 2)])
def test_a_whole_unet_commutes_with_rolls_by_its_coarsest_pixel(shift: tuple[int, int]) -> None:
    network = unet()
    with circular(network):
        assert rolls_with(network, shift)
        assert not rolls_with(network, (1, 0)), "half a coarse pixel is another matter"
    assert not rolls_with(network, shift)


def test_the_padding_is_put_back_after_a_fault() -> None:
    layer = smoothing()
    with pytest.raises(RuntimeError, match="within"), circular(layer):
        raise RuntimeError("within")
    assert layer.padding_mode == "zeros"


def test_a_network_that_pads_elsewhere_is_refused_and_left_as_it_was() -> None:
    network = UNet(SMALL.model_copy(update={"downsample_padding": "right-bottom"}), 3, 3)
    with pytest.raises(InputError, match="by rolls instead"), circular(network):
        pass
    modes = {module.padding_mode for module in network.modules() if isinstance(module, nn.Conv2d)}
    assert modes == {"zeros"}


def crooked(x_t: torch.Tensor, t: torch.Tensor) -> Prediction:
    """A denoiser that knows where it is: every pixel is drawn to a place of its own."""
    x0 = 0.5 * x_t + torch.linspace(-1, 1, x_t[0].numel(), dtype=x_t.dtype).reshape(x_t.shape[1:])
    return Prediction(t, x0, (x_t - SCHEDULE.alpha(t, x_t) * x0) / SCHEDULE.sigma(t, x_t), x0)


X = torch.randn(2, 3, 4, 6, generator=torch.manual_seed(2), dtype=torch.float64)
T = torch.tensor(40)


@given(down=st.integers(0, 1), right=st.integers(0, 2))
def test_the_mean_over_a_group_commutes_with_it(down: int, right: int) -> None:
    mean = MeanOfRolls(crooked, grid_of_rolls(4, 6, 2, 3))
    shift = (2 * down, 2 * right)
    ours, theirs = mean(X.roll(shift, (-2, -1)), T), mean(X, T)
    for one, other in zip(ours[1:4], theirs[1:4], strict=True):
        assert torch.allclose(one, other.roll(shift, (-2, -1)), rtol=0, atol=1e-13)


@pytest.mark.parametrize("wrap", [RolledEachStep, lambda denoise: MeanOfRolls(denoise, ((1, 2), (3, 5)))])
def test_rolling_there_and_back_leaves_a_denoiser_that_commutes_alone(wrap: Callable[[Denoiser], Denoiser]) -> None:
    """Trap: a prediction rolled back the wrong way."""
    layer = smoothing()
    with circular(layer), torch.no_grad():
        plain, ours = denoiser(layer)(X[:, :1], T), wrap(denoiser(layer))(X[:, :1], T)
    assert torch.allclose(ours.x0, plain.x0, rtol=0, atol=1e-13) and torch.allclose(ours.eps, plain.eps, atol=1e-12)


def test_a_roll_is_a_function_of_t_alone_and_differs_from_step_to_step() -> None:
    """So that an image is the same in any batch; over the steps every place has its turn."""
    places = [RolledEachStep.shift(torch.tensor(t), 8, 4) for t in range(1, 401)]
    assert places == [RolledEachStep.shift(torch.tensor(t), 8, 4) for t in range(1, 401)]
    assert {row for row, _ in places} == set(range(8)) and {column for _, column in places} == set(range(4))
    ours = RolledEachStep(crooked)(X, T)
    assert torch.equal(ours.x0, rolled(crooked, X, T, RolledEachStep.shift(T, 4, 6)).x0)
    assert torch.allclose(RolledEachStep(crooked)(X[1:], T).x0, ours.x0[1:], rtol=0, atol=1e-14)


def test_the_seam_is_measured_at_the_edges_and_nowhere_else() -> None:
    ramp = torch.arange(8, dtype=torch.float64)
    measured = seam((ramp[:, None] + ramp).reshape(1, 1, 8, 8))
    assert float(measured.within) == pytest.approx(1) and float(measured.across) == pytest.approx(49)
    noise = torch.randn(200, 1, 8, 8, generator=torch.manual_seed(0))
    assert float(seam(noise).ratio) == pytest.approx(1, abs=0.05)


def test_what_cannot_be_tiled_or_measured_is_refused() -> None:
    with pytest.raises(InputError, match="divisors"):
        grid_of_rolls(8, 8, 3, 2)
    with pytest.raises(InputError, match="3 x 3"):
        seam(torch.zeros(1, 1, 2, 5))
    with pytest.raises(InputError, match="flat"):
        seam(torch.zeros(1, 1, 4, 4))
