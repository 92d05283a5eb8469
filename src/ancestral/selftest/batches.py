"""A batch is its images: what is made of one does not depend on the others, nor on its place among them.

Everything that takes a batch is given one of images that differ in size by a factor of ten, and then each image by
itself. A bound, a norm, a deviation or a mean that is taken over the batch gives other numbers.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from ancestral.condition import UNTOLD, Condition
from ancestral.diffusion.categorical import PredictsCategorical
from ancestral.diffusion.likelihood import prior_term, step_term
from ancestral.diffusion.losses import Loss, continuous, hybrid, min_snr, squared_error, vlb
from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.probability_flow import Exact, flow_log_prob
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import log_snr_linear
from ancestral.diffusion.variances import beta_tilde, interpolated
from ancestral.editing.canvas import Windows
from ancestral.editing.interpolate import arc, slerp
from ancestral.editing.inversion import DDIMInversion, HeunInversion, Inversion, round_trip_error
from ancestral.editing.operators import Masked, MeanPooled
from ancestral.editing.posterior import Measured, PosteriorGuided
from ancestral.editing.tile import MeanOfRolls, RolledEachStep
from ancestral.gaussian import DiagonalGaussian
from ancestral.networks.backbone import build
from ancestral.networks.classifier import Classifier, classifier_settings
from ancestral.networks.conditions import Told
from ancestral.oracles import eps_process, normal
from ancestral.sampling.denoiser import Denoiser, DynamicClip, StaticClip
from ancestral.sampling.guidance import ClassifierFree, ClassifierGuided, Composed, Rescaled, TwoCalls
from ancestral.sampling.samplers import DDIM
from ancestral.selftest.checks import Checks, largest
from ancestral.selftest.samplers import KINDS
from ancestral.settings import DiTSettings, UNetSettings
from ancestral.tensors import mean_over_image
from ancestral.training.optimizer import orthogonalised

CHECKS = Checks()

TABLE = log_snr_linear(60, 6.0, -6.0)
SIZES = (0.2, 2.0, 0.7, 1.4, 3.0)  # what the images of the batch are multiplied by
SHAPE = (2, 4, 4)
T, S = torch.tensor(30), torch.tensor(19)
TIMES = torch.tensor([5, 59, 30, 1, 42])  # a timestep for each image
NETWORK = UNetSettings(
    widths=(8, 16), layers=1, attention=(1,), norm_groups=4, head_width=8, time_conditioning="scale-shift", fourier=(1,)
)
TRANSFORMER = DiTSettings(width=16, layers=2, heads=2)

Network = TypeVar("Network", bound=nn.Module)
Made = Callable[..., Tensor]  # tensors (B, ...) -> (B, ...)


def images(device: torch.device, draw: int = 0) -> Tensor:
    """Five images of different sizes, (5, *SHAPE)."""
    return normal(draw + 1, 5, *SHAPE, device=device)[-1] * torch.tensor(SIZES).to(device)[:, None, None, None].double()


def told_apart(make: Made, *batches: Tensor) -> float:
    """How far a batch is from its images alone and itself turned around, as a share; NaN where images are alike."""
    with torch.no_grad():
        whole = make(*batches)
        alone = torch.cat([make(*(batch[i : i + 1] for batch in batches)) for i in range(len(batches[0]))])
        around = make(*(batch.flip(0) for batch in batches)).flip(0)
    scale = float(whole.abs().max())
    spread = float((whole - whole.flip(0)).abs().max())
    return largest([whole - alone, whole - around]) / scale if spread > 1e-6 * scale else math.nan


def nonlinear(x_t: Tensor, t: Tensor) -> Prediction:
    """A denoiser that is no straight line, and has a variance coefficient."""
    kept = TABLE.alpha_bar[t].to(x_t)
    kept = kept.reshape(-1, 1, 1, 1) if kept.ndim else kept
    x0 = 1.4 * torch.tanh(x_t) + 0.1 * x_t.flip(-1)
    return Prediction(t, x0, (x_t - kept.sqrt() * x0) / (1 - kept).sqrt(), torch.tanh(0.5 * x_t))


def other(x_t: Tensor, t: Tensor) -> Prediction:
    return nonlinear(0.6 * x_t.flip(-2), t)


def guided(denoise: Denoiser, x_t: Tensor) -> Tensor:
    return torch.cat(denoise(x_t, T)[1:3], 1)


def stepped(kind: str, x_t: Tensor, noise: Tensor, *before: Tensor) -> Tensor:
    """x_s by a sampler with three predictions behind it."""
    past = [nonlinear(x, torch.tensor(t)) for x, t in zip(before, (51, 47, 38), strict=True)]
    return KINDS[kind](TABLE).step(nonlinear, x_t, T, S, past, lambda: noise)[0]


def inverted(inversion: Inversion, x: Tensor) -> Tensor:
    """A step upwards, and what is lost by going up and down."""
    lost = round_trip_error(nonlinear, inversion, DDIM(TABLE), x, torch.tensor([50, 31, 12]))
    return inversion.step(nonlinear, x, T, S, None)[1].x_s * lost[:, None, None, None]


def term(x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """A term of the bound for each image, from its own t to half of it: L_0 from t = 1."""
    return step_term(EPS, nonlinear(x_t, t.cpu()), x0, x_t, t, t // 2, DiagonalGaussian.log_prob)


def noisy(loss: Loss, process: GaussianDiffusion, output: Tensor, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """That of each image, at its own t."""
    return loss(process, output, process.noised(x0, t, eps))


EPS, LEVELS = eps_process(TABLE), GaussianDiffusion(TABLE, PredictsCategorical(), beta_tilde)
LEARNED = eps_process(TABLE, interpolated)


def functions(device: torch.device) -> dict[str, tuple[Made, tuple[Tensor, ...]]]:
    """Functions of batches, and what each is given."""
    first, second, *others = (images(device, i) for i in range(5))
    t, x0, eps = TIMES.to(device), (first.tanh() * 127.5 + 127.5).round() / 127.5 - 1, second / 2
    output = torch.cat([others[0], others[1].tanh()], 1)
    levels = normal(5, 512, 4, 4, device=device) * x0.abs().amax((1, 2, 3), keepdim=True)
    pair, grey = TwoCalls(nonlinear, other), torch.full((1, *SHAPE), 0.4, dtype=torch.float64, device=device)
    seen, pooled = Measured(Masked(torch.tensor([True, False, True, True])), grey, 0.2), grey[..., :2, :2]
    flow = partial(flow_log_prob, EPS, nonlinear, timesteps=torch.tensor([60, 42, 20]), divergence=Exact())
    denoisers: dict[str, Denoiser] = {
        "static clipping": StaticClip(nonlinear, TABLE),
        "dynamic clipping": DynamicClip(nonlinear, TABLE, 0.8),
        "classifier-free": ClassifierFree(pair, 2.5),
        "composed": Composed(nonlinear, ((other, 1.5),)),
        "rescaled": Rescaled(pair, 2.5, TABLE),
        "classifier": ClassifierGuided(
            nonlinear, TABLE, lambda x, t: -(x - 0.3).square().flatten(1).sum(1).sqrt(), 1.5
        ),
        "posterior, gradient": PosteriorGuided(nonlinear, TABLE, seen, "gradient", 0.5),
        "posterior, moments": PosteriorGuided(nonlinear, TABLE, seen, "moments", 0.5, 3),
        "posterior, pooled": PosteriorGuided(nonlinear, TABLE, Measured(MeanPooled(2), pooled), "projection"),
        "windows": Windows(nonlinear, 3, 3, 1),
        "a roll a step": RolledEachStep(nonlinear),
        "mean of rolls": MeanOfRolls(nonlinear, ((0, 0), (1, 2))),
    }
    return {
        **{name: (partial(guided, denoise), (first,)) for name, denoise in denoisers.items()},
        **{f"a step of {kind}": (partial(stepped, kind), (first, second, *others)) for kind in KINDS},
        "inversion by DDIM": (partial(inverted, DDIMInversion(TABLE, 1)), (first,)),
        "inversion by Heun": (partial(inverted, HeunInversion(TABLE)), (first,)),
        "slerp": (partial(slerp, u=0.3), (first, second.flip(0))),
        "arc": (partial(arc, u=0.3), (first, second.flip(0))),
        "loss: simple": (partial(noisy, squared_error, EPS), (output[:, :2], x0, eps, t)),
        "loss: simple of levels": (partial(noisy, squared_error, LEVELS), (levels, x0, eps, t)),
        "loss: hybrid": (partial(noisy, hybrid, LEARNED), (output, x0, eps, t)),
        "loss: bound": (partial(noisy, vlb, LEARNED), (output, x0, eps, t)),
        "loss: bound of levels": (partial(noisy, vlb, LEVELS), (levels, x0, eps, t)),
        "loss: continuous": (partial(noisy, continuous, EPS), (output[:, :2], x0, eps, t)),
        "loss: min-SNR": (lambda t: min_snr()(EPS, TABLE.level(t)), (t,)),
        "loss: mean over an image": (mean_over_image, (x0,)),
        "L_T": (partial(prior_term, EPS), (x0,)),
        "a term of the bound, each at its own t and s": (term, (first, second, t)),
        "the density of the flow": (lambda x: flow(x).log_prob, (first[..., :2, :2],)),
        "Muon's directions": (orthogonalised, (first.reshape(5, 4, 8),)),
    }


@CHECKS("{name}", 1e-11, name=functions(torch.device("cpu")))
def one_by_one(name: str, device: torch.device) -> float:
    function, arguments = functions(device)[name]
    return told_apart(function, *arguments)


def loud(network: Network, device: torch.device) -> Network:
    """The network with random weights, float64."""
    random = torch.Generator().manual_seed(0)
    for weight in network.double().parameters():
        weight.data.normal_(std=0.3, generator=random)
    return network.eval().to(device)


@CHECKS("network: {name}", 1e-12, name=("U-Net", "classifier"))
def networks(name: str, device: torch.device) -> float:
    batch = [images(device), TIMES.to(device).double(), torch.tensor([0, 2, 1, UNTOLD, 0], device=device)]
    with torch.random.fork_rng(devices=[]):
        if name == "U-Net":
            unet = loud(build(NETWORK, 2, 2, Told(3)), device)
            return told_apart(lambda x, time, labels: unet(x, time, Condition(labels)), *batch)
        return told_apart(loud(Classifier(classifier_settings(NETWORK), 2, 3), device), *batch[:2])
