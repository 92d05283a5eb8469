"""`python -m benchmarks.mutations`: breaks one formula at a time and sees whether `ancestral selftest` notices.

A self-test that holds proves little until it has been seen to fail. Each mutation replaces one piece of the source,
which must be there exactly once, in a copy of the package; the copy then tests itself in a process of its own. The
table of what failed goes to standard output, and the exit code is 1 if a mutation was not noticed, if one is no
formula (it names what is not there, which anything would notice), or if the package as it is fails.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).parents[1] / "src"
NAMED = 3
"""Failed checks that the table names."""
NO_FORMULA = ("AttributeError", "NameError", "ImportError", "SyntaxError", "UnboundLocalError")
"""What a piece raises that is no longer written in the words of the source around it."""


class Mutation(NamedTuple):
    """`old`, found once in `file` (below the package), becomes `new`."""

    name: str
    file: str
    old: str
    new: str


MUTATIONS = (
    Mutation("betas not rescaled when T changes", "diffusion/schedules.py",
             "from_betas((betas * 1000 / num_timesteps)", "from_betas((betas * 1000 / 1000)"),
    Mutation("cosine without its offset", "diffusion/schedules.py", "offset: float = 0.008", "offset: float = 0.0"),
    Mutation("sigmoid that ends early", "diffusion/schedules.py", "end: float = 3.0", "end: float = 2.9"),
    Mutation("scaled-linear not squared", "diffusion/schedules.py", "(roots**2 * 1000", "(roots * 1000"),
    Mutation("middle grid: a root too many", "diffusion/schedules.py",
             "first.clamp(min=-2 * math.log(most_noise))", "first.clamp(min=-math.log(most_noise))"),
    Mutation("beta of a stride by difference", "diffusion/schedules.py",
             "return 1 - self.alpha_bar_at(t) / self.alpha_bar_at(s)",
             "return self.alpha_bar_at(s) - self.alpha_bar_at(t)"),
    Mutation("beta_tilde turned around", "diffusion/schedules.py",
             "return (1 - self.alpha_bar_at(s)) / (1 - self.alpha_bar_at(t)) * self.beta(t, s)",
             "return (1 - self.alpha_bar_at(t)) / (1 - self.alpha_bar_at(s)) * self.beta(t, s)"),
    Mutation("the signal is not a root", "diffusion/schedules.py", "Level(alpha_bar.sqrt(), (1",
             "Level(alpha_bar, (1"),
    Mutation("posterior mean without a root", "diffusion/process.py", "from_x0 = alpha_bar_at(s).sqrt() * self",
             "from_x0 = alpha_bar_at(s) * self"),
    Mutation("a forward step that shrinks twice", "diffusion/process.py", "broadcast_like((1 - beta).sqrt(), x_s)",
             "broadcast_like(1 - beta, x_s)"),
    Mutation("variance of the jump from the signal", "diffusion/process.py",
             "broadcast_like((1 - self.schedule.alpha_bar_at(t)).log(), x0)",
             "broadcast_like(self.schedule.alpha_bar_at(t).log(), x0)"),
    Mutation("network told t, not t - 1", "diffusion/process.py", '"index": lambda: level.t - 1,',
             '"index": lambda: level.t,'),
    Mutation("v with its sign turned", "diffusion/parameterization.py", "return alpha * eps - sigma * x0",
             "return alpha * eps + sigma * x0"),
    Mutation("x_0 from v by the wrong level", "diffusion/parameterization.py",
             "return alpha * x_t - sigma * output, sigma", "return alpha * x_t - alpha * output, sigma"),
    Mutation("x_0 from eps not divided", "diffusion/parameterization.py",
             "return (x_t - sigma * output) / alpha, output", "return x_t - sigma * output, output"),
    Mutation("levels seen without the half", "diffusion/categorical.py", "gap, gap, value=-0.5",
             "gap, gap, value=-1.0"),
    Mutation("learned variance linear in v", "diffusion/variances.py",
             "lower + 0.5 * (prediction.variance_coeff + 1) * (upper - lower)",
             "lower + (prediction.variance_coeff + 1) * (upper - lower)"),
    Mutation("step onto s = 0 as from 3", "diffusion/variances.py", "torch.clamp(t, min=2)", "torch.clamp(t, min=3)"),
    Mutation("analytic variance beyond its extremes", "diffusion/variances.py", "].clamp(0, 1)", "]"),
    Mutation("analytic ratio not over the noise", "diffusion/analytic.py",
             "errors / (1 - schedule.alpha_bar_at(timesteps))", "errors"),
    Mutation("analytic ratio linear in t", "diffusion/analytic.py",
             "level = schedule.log_snr(every).clamp(min=torch.finfo(torch.float64).min)", "level = every.double()"),
    Mutation("KL in the other direction", "gaussian.py", "ratio = self.log_var - other.log_var",
             "ratio = other.log_var - self.log_var"),
    Mutation("density with its width twice", "gaussian.py", "-0.5 * (z * z + self.log_var",
             "-0.5 * (z * z + 2 * self.log_var"),
    Mutation("bins half a bin too high", "gaussian.py", "standardised((level + 0.5) / 127.5 - 1)",
             "standardised((level + 1.0) / 127.5 - 1)"),
    Mutation("a closed last bin", "gaussian.py", "torch.where(level == 255, math.inf",
             "torch.where(level == 256, math.inf"),
    Mutation("L_T left to the wrong end", "diffusion/likelihood.py", "torch.tensor(diffusion.num_timesteps))",
             "torch.tensor(diffusion.num_timesteps - 1))"),
    Mutation("L_0 replaced by nothing", "diffusion/likelihood.py", "torch.where(last, -_total(",
             "torch.where(last, 0 * _total("),
    Mutation("bits for nats", "diffusion/likelihood.py", "nats / (dims * math.log(2))", "nats / dims"),
    Mutation("min-SNR without the scale of x_0", "diffusion/losses.py", ".clamp(max=gamma) * scale**2",
             ".clamp(max=gamma) * scale"),
    Mutation("bound not times T", "diffusion/losses.py", "return diffusion.num_timesteps * bits", "return bits"),
    Mutation("gradient of the bound reaches the mean", "diffusion/losses.py",
             "torch.cat([mean.detach(), variance_coeff]", "torch.cat([mean, variance_coeff]"),
    Mutation("continuous bound without its half", "diffusion/losses.py",
             "float(clean - noisy) / (2 * math.log(2))", "float(clean - noisy) / math.log(2)"),
    Mutation("log-SNR told from the wrong end", "diffusion/process.py", "25 * (20 - log_snr.", "25 * (20 + log_snr."),
    Mutation("importance weights upside down", "diffusion/timesteps.py",
             "1 / (len(probabilities) * share)", "len(probabilities) * share"),
    Mutation("importance by the second moment, no root", "diffusion/timesteps.py",
             "second_moment.sqrt() / second_moment.sqrt().sum()", "second_moment / second_moment.sum()"),
    Mutation("strata that overlap", "diffusion/timesteps.py", "return (part + independent(batch, generator)) / batch",
             "return (part + 2 * independent(batch, generator)) / batch"),
    Mutation("rectified: shift inverted", "diffusion/schedules.py", "(shift * t) ** 2", "(t / shift) ** 2"),
    Mutation("rectified: the path not rescaled", "diffusion/schedules.py", "return Schedule(signal / (signal + noise))",
             "return Schedule(signal / num_timesteps**2)"),
    Mutation("flow prediction: sign of u", "diffusion/parameterization.py", "return eps - x0", "return x0 - eps"),
    Mutation("flow prediction: x0 not rescaled", "diffusion/parameterization.py",
             "(x_t - sigma * output) / (alpha + sigma)", "(x_t - sigma * output)"),
    Mutation("flow prediction: eps by sigma", "diffusion/parameterization.py",
             "(x_t + alpha * output) / (alpha + sigma)", "(x_t + sigma * output) / (alpha + sigma)"),
    Mutation("flow prediction: errors as of v", "diffusion/parameterization.py",
             "return sigma / (alpha + sigma)", "return sigma"),
    Mutation("timesteps normal: variance for deviation", "diffusion/timesteps.py",
             "(schedule.borders - mean) / std", "(schedule.borders - mean) / std**2"),
    Mutation("timesteps normal: mean of tau, not of log-SNR", "diffusion/timesteps.py",
             "(schedule.borders - mean) / std", "(schedule.borders + mean) / std"),
    Mutation("timesteps normal: in order of noise", "diffusion/timesteps.py", ".diff().flip(0).clamp(",
             ".diff().clamp("),
    Mutation("timesteps normal: weights of another density", "diffusion/timesteps.py",
             "return sample_timesteps(torch.lerp(probabilities, even(len(probabilities)), UNIFORM_SHARE), u)",
             "return sample_timesteps(probabilities, u)._replace(weight=torch.ones_like(u))"),
    Mutation("timesteps normal: corrected unasked", "diffusion/timesteps.py",
             "u)._replace(weight=torch.ones_like(u))", "u)"),
    Mutation("door: x_t for the straight path", "diffusion/process.py", "network(x_t / sum(level.over(x_t)),",
             "network(x_t,"),
    Mutation("door: 1000 sigma for 1000 tau", "diffusion/process.py", "1000 * tau", "1000 * level.sigma"),
    Mutation("door: SiT's time not turned", "diffusion/process.py", "lambda: 1 - tau", "lambda: tau"),
    Mutation("door: SiT's sign kept", "diffusion/process.py", "return -output if", "return output if"),
    Mutation("flow: the drift turned", "diffusion/probability_flow.py",
             "return x0 - diffusion.schedule.alpha(t, x) * x",
             "return x0 + diffusion.schedule.alpha(t, x) * x"),
    Mutation("flow: quadrature of another degree", "diffusion/probability_flow.py",
             "1 / (power + 1))", "1 / (power + 2))"),
    Mutation("flow: no corrector", "diffusion/probability_flow.py",
             "x = x + _weighted(parabola, [*drifts, ahead])",
             "x = x + _weighted(quadrature(nodes, here.u, u), drifts)"),
    Mutation("flow: width of the bins left out", "diffusion/probability_flow.py",
             "-flow.log_prob - width,", "-flow.log_prob,"),
    Mutation("ancestral: variance for deviation", "gaussian.py", "torch.exp(0.5 * self.log_var) * noise",
             "torch.exp(self.log_var) * noise"),
    Mutation("ancestral: noise at the last step", "sampling/samplers/ancestral.py",
             "posterior.mean if s == 0 else posterior.sample", "posterior.mean if s < 0 else posterior.sample"),
    Mutation("ddim: eta not squared", "sampling/samplers/ancestral.py", "fresh = self.eta**2 *", "fresh = self.eta *"),
    Mutation("ddim: fresh noise beside all of the old", "sampling/samplers/ancestral.py",
             "self.schedule.alpha_bar_at(s) - fresh)", "self.schedule.alpha_bar_at(s))"),
    Mutation("ddim: the levels of t, not s", "sampling/samplers/ancestral.py",
             "self.schedule.alpha(s, x_t) * prediction.x0", "self.schedule.alpha(t, x_t) * prediction.x0"),
    Mutation("guidance off by one", "sampling/guidance.py", "push = scale - 1", "push = scale"),
    Mutation("guidance by one call swaps the halves", "sampling/guidance.py",
             "return given, null", "return null, given"),
    Mutation("clipped, eps not recomputed", "sampling/denoiser.py", "(x_t - schedule.alpha(t, x_t) * x0) / schedule",
             "(x_t - x0) / schedule"),
    Mutation("karras grid even in sigma", "diffusion/schedules.py", "torch.exp(-0.5 * each / power) for",
             "torch.exp(-0.5 * each) for"),
    Mutation("quadratic grid even in t", "diffusion/schedules.py", "self.num_timesteps * share**2",
             "self.num_timesteps * share"),
    Mutation("a grid too crowded for its table", "diffusion/schedules.py",
             "torch.maximum(falling, len(wanted) - room)", "falling.clamp(min=1)"),
    Mutation("two calls for one at the last step", "sampling/samplers/base.py", "(steps - 1) * self.calls + 1",
             "steps * self.calls"),
    Mutation("the loop forgets", "sampling/loop.py", "REMEMBERED = 4", "REMEMBERED = 2"),
    Mutation("multistep: the oldest for the newest", "sampling/samplers/multistep.py",
             "[prediction, *reversed(past)][:count]", "[prediction, *past][:count]"),
    Mutation("multistep: a node where no signal is left", "sampling/samplers/multistep.py",
             "for each in newest if is_finite(schedule, each.t)]", "for each in newest]"),
    Mutation("moments by parts, power forgotten", "sampling/samplers/exponential.py", "value = (k * value - 1) / z",
             "value = (value - 1) / z"),
    Mutation("moments by a series of another power", "sampling/samplers/exponential.py",
             "math.factorial(power + 1 + j) for", "math.factorial(power + 2 + j) for"),
    Mutation("x_0: line read at the end, not at mid-step", "sampling/samplers/exponential.py", "whole * (second - 0.5)",
             "whole * (second - 1)"),
    Mutation("x_0: no weight of the noise", "sampling/samplers/exponential.py", "return end.sigma / start.sigma * x_t",
             "return end.alpha / start.alpha * x_t"),
    Mutation("eps: weights of x_0", "sampling/samplers/exponential.py", "combined(weights(h, places)",
             "combined(weights(-h, places)"),
    Mutation("rho: weights of equal steps", "sampling/samplers/exponential.py",
             "where = [(_rho(schedule, each.t) - start) / step for each in known]",
             "where = [float(-i) for i in range(len(known))]"),
    Mutation("dpm++2m: first order", "sampling/samplers/multistep.py",
             "by_x0(self.schedule, x_t, t, s, known)\n", "by_x0(self.schedule, x_t, t, s, known[:1])\n"),
    Mutation("dpm++2m-sde: half of the fresh noise", "sampling/samplers/multistep.py",
             "math.expm1(-2 * share * h)", "math.expm1(-share * h)"),
    Mutation("dpm++2m-sde: drift without eta", "sampling/samplers/multistep.py", "math.expm1(-(1 + share) * h)",
             "math.expm1(-h)"),
    Mutation("dpm++2m-sde: line read at the end", "sampling/samplers/multistep.py",
             "(now.x0 - before.x0) / (2 * back)", "(now.x0 - before.x0) / back"),
    Mutation("heun: the slope at the end alone", "sampling/samplers/singlestep.py",
             "0.5 * (prediction.eps + denoise(x_s, s).eps)", "denoise(x_s, s).eps"),
    Mutation("heun: the network told t at s", "sampling/samplers/singlestep.py", "denoise(x_s, s).eps",
             "denoise(x_s, t).eps"),
    Mutation("singlestep: looks ahead to s and says the middle", "sampling/samplers/singlestep.py",
             "denoise(first_order(self.schedule, prediction, middle), middle)",
             "denoise(first_order(self.schedule, prediction, s), middle)"),
    Mutation("dpm++3s: gamma as at exact thirds", "sampling/samplers/singlestep.py",
             "(_ramp(h_2) + b_1 * at_1.alpha / (b_2 * at_2.alpha) * _ramp(h_1)) / h_1", "_ramp(h_2) / h_1"),
    Mutation("unipc: no corrector", "sampling/samplers/multistep.py", "if past and is_finite",
             "if False and is_finite"),
    Mutation("unipc: the corrected x_t is not remembered", "sampling/samplers/multistep.py",
             "prediction._replace(eps=with_x0(self.schedule, prediction.x0, x_t, t).eps)", "prediction"),
    Mutation("unipc: a corrector of the predictor's order", "sampling/samplers/multistep.py",
             "past[-1], latest(self.schedule, prediction, past, self.order)",
             "past[-1], latest(self.schedule, prediction, past, self.order - 1)"),
    Mutation("deis: never more than two predictions", "sampling/samplers/multistep.py",
             "by_eps(self.schedule, x_t, t, s, known)", "by_eps(self.schedule, x_t, t, s, known[:2])"),
    Mutation("ipndm: never more than two predictions", "sampling/samplers/multistep.py",
             "by_rho(self.schedule, x_t, t, s, known)", "by_rho(self.schedule, x_t, t, s, known[:2])"),
    Mutation("composed: the null is not taken off", "sampling/guidance.py", "eps + weight * (given.eps - null.eps)",
             "eps + weight * given.eps"),
    Mutation("rescaled: added, not mixed", "sampling/guidance.py", "factor = 1 - self.share + self.share *",
             "factor = 1 + self.share *"),
    Mutation("interval without its first timestep", "sampling/guidance.py", "self.first <= int(t)",
             "self.first < int(t)"),
    Mutation("interval of noise by its square", "sampling/guidance.py", "torch.exp(-0.5 * schedule.log_snr",
             "torch.exp(-schedule.log_snr"),
    Mutation("classifier pushes away", "sampling/guidance.py", "prediction.eps - pull", "prediction.eps + pull"),
    Mutation("classifier: eps moved, x_0 not with it", "sampling/guidance.py",
             "prediction.x0 + sigma / alpha * pull", "prediction.x0 + sigma * pull"),
    Mutation("dynamic clipping that does not divide", "sampling/denoiser.py", "most), -most) / most",
             "most), -most)"),
    Mutation("from an image: noise not scaled", "editing/from_image.py", "schedule.sigma(t, image) * noise()",
             "noise()"),
    Mutation("strength one timestep early", "editing/from_image.py", "min(kept + 1,", "min(kept,"),
    Mutation("inpainting: up by one timestep's beta", "editing/inpaint.py", "q_step(x_t, leg[0], now)",
             "q_step(x_t, leg[0], leg[0] - 1)"),
    Mutation("inpainting: the known part without noise", "editing/inpaint.py",
             "image if t == 0 else diffusion.q_sample(image, t, noise())", "image"),
    Mutation("inpainting: the mask turned around", "editing/inpaint.py", "keep.to(x.device), known, x)",
             "keep.to(x.device), x, known)"),
    Mutation("slerp of the first one's length", "editing/interpolate.py",
             "broadcast_like(torch.lerp(norm_a, norm_b, u), a)", "broadcast_like(norm_a, a)"),
    Mutation("one angle for a whole batch", "editing/interpolate.py", "angle = 2 * torch.atan2(apart, together)",
             "angle = 2 * torch.atan2(apart, together).mean()"),
    Mutation("an arc that is a straight line", "editing/interpolate.py",
             "math.cos(u * math.pi / 2) * a + math.sin(u * math.pi / 2) * b", "(1 - u) * a + u * b"),
    Mutation("inversion by eps at the start", "editing/inversion.py",
             "x_t = self.along(x_s, x_s * 0 if eps is None else eps, t, s)", "x_t = x_s"),
    Mutation("inversion: the slope at the end alone", "editing/inversion.py", "0.5 * (start + end.eps)", "end.eps"),
    Mutation("inversion: noise not stretched", "editing/inversion.py", "- ratio * self.schedule.sigma(s, x_s)) * eps",
             "- self.schedule.sigma(s, x_s)) * eps"),
    Mutation("pooled: a transpose that does not divide", "editing/operators.py", "return repeated / self.factor**2",
             "return repeated"),
    Mutation("pooled: solved as a mask is", "editing/operators.py", "y / (p / self.factor**2 + q)", "y / (p + q)"),
    Mutation("grey: green for blue", "editing/operators.py", "(0.299, 0.587, 0.114)", "(0.299, 0.114, 0.587)"),
    Mutation("blur: its own transpose", "editing/operators.py", "self._gain(y).conj())", "self._gain(y))"),
    Mutation("a Gaussian without its half", "editing/operators.py", "torch.exp(-0.5 * (torch.arange(-far",
             "torch.exp(-(torch.arange(-far"),
    Mutation("posterior: Jacobian over the squared signal", "editing/posterior.py",
             "(1 - alpha_bar) / alpha_bar.sqrt()", "(1 - alpha_bar) / alpha_bar"),
    Mutation("posterior: spread of x_t for that of x_0", "editing/posterior.py",
             "(signal * self.data_variance + 1 - signal)", "(self.data_variance + 1 - signal)"),
    Mutation("posterior: noise of y not squared", "editing/posterior.py",
             "operator.solve(residual, spread, noise)", "operator.solve(residual, spread, self.measured.sigma)"),
    Mutation("conjugate gradients that are not", "editing/posterior.py",
             "direction = residual + square / before.where(before > 0, torch.ones_like(before)) * direction",
             "direction = residual"),
    Mutation("windows added, not averaged", "editing/canvas.py", "total / weights for", "total for"),
    Mutation("windows: the far edge left out", "windows.py",
             "[*range(0, length - window, stride), length - window]",
             "[*range(0, length - window + 1, stride)]"),
    Mutation("windows: feathered on one side", "editing/canvas.py", "torch.minimum(ramp, ramp.flip(0))", "ramp"),
    Mutation("rolled on, not back", "editing/tile.py", "back = (-shift[0], -shift[1])", "back = shift"),
    Mutation("rolls that are no group", "editing/tile.py", "j * width // columns)", "j)"),
    Mutation("padding that mirrors", "editing/tile.py", 'module.padding_mode = "circular"',
             'module.padding_mode = "reflect"'),
    Mutation("sinusoids of another base", "networks/layers.py", "-math.log(10000) * index", "-math.log(1000) * index"),
    Mutation("the same noise for every image", "rng.py", "generator(seed, stream) for seed in seeds",
             "generator(0, stream) for seed in seeds"),
    Mutation("multistep: the newest of the past left out", "sampling/samplers/multistep.py",
             "[prediction, *reversed(past)][:count]", "[prediction, *[*reversed(past)][1:]][:count]"),
    Mutation("unipc: corrected without the newest of the past", "sampling/samplers/multistep.py",
             "past[-1], latest(self.schedule, prediction, past, self.order)",
             "past[-1], latest(self.schedule, prediction, [*past][:-1], self.order)"),
    Mutation("dpm++2m-sde: equal steps where noise is drawn", "sampling/samplers/multistep.py",
             "back = -theta(self.schedule, t, s, before.t)",
             "back = 1.0 if self.eta else -theta(self.schedule, t, s, before.t)"),
    Mutation("heun: the slope at the start alone", "sampling/samplers/singlestep.py",
             "slope = 0.5 * (prediction.eps + denoise(x_s, s).eps)", "slope = prediction.eps"),
    Mutation("the loop: newest first", "sampling/loop.py",
             "remembered.append(prediction)", "remembered.appendleft(prediction)"),
    Mutation("inpainting: the past kept over a jump back", "editing/inpaint.py", "            past.clear()\n", ""),
    Mutation("inpainting: the newest kept over a jump back", "editing/inpaint.py",
             "            past.clear()\n", "            past = deque([*past][-1:], maxlen=REMEMBERED)\n"),
    Mutation("dynamic clipping over the batch", "sampling/denoiser.py",
             "torch.quantile(x0.abs().flatten(1), self.quantile, dim=1).clamp(min=self.bound)",
             "torch.quantile(x0.abs().flatten(), self.quantile).clamp(min=self.bound)"),
    Mutation("clipped by the largest of the batch", "sampling/denoiser.py",
             "x0 = prediction.x0.clamp(-self.bound, self.bound)",
             "x0 = prediction.x0 / prediction.x0.abs().max().clamp(min=self.bound)"),
    Mutation("rescaled by the deviation of the batch", "sampling/guidance.py",
             "given.x0.flatten(1).std(1) / x0.flatten(1).std(1)", "given.x0.flatten().std() / x0.flatten().std()"),
    Mutation("conjugate gradients over the batch", "editing/posterior.py",
             "return broadcast_like((a * b).flatten(1).sum(1), a)", "return broadcast_like((a * b).sum(), a)"),
    Mutation("the error of a round trip over the batch", "editing/inversion.py",
             "return mean_over_image((down.x_s - image) ** 2).sqrt()",
             "return ((down.x_s - image) ** 2).mean().sqrt().expand(len(image))"),
    Mutation("Muon: one norm for all matrices", "training/optimizer.py",
             "x.norm(dim=(1, 2), keepdim=True)", "x.norm()"),
    Mutation("levels: the batch's mean for the image", "diffusion/categorical.py",
             "gap, gap, value=-0.5",
             "gap.mean(0, keepdim=True).expand(gap.shape), gap.mean(0, keepdim=True).expand(gap.shape), value=-0.5"),
    Mutation("min-SNR: one weight for a batch", "diffusion/losses.py",
             "return level.log_snr.exp().clamp(max=gamma) * scale**2",
             "return (level.log_snr.exp().clamp(max=gamma) * scale**2).mean().expand(level.alpha.shape)"),
    Mutation("network: the first image's time for all", "networks/unet.py",
             "embedding = F.silu(self._embedding(time.expand(x.shape[0]), told))",
             "embedding = F.silu(self._embedding(time.flatten()[:1].expand(x.shape[0]), told))"),
    Mutation("cache: whole one call early", "sampling/denoiser.py",
             "self.deep if self.calls % self.every else None", "self.deep if (self.calls + 1) % self.every else None"),
    Mutation("cache: the first call's features for ever", "sampling/denoiser.py",
             "output, self.deep = self.network(x, time, kept)",
             "output, deep = self.network(x, time, kept)\n        self.deep = deep if not self.calls else self.deep"),
    Mutation("strata in order of the batch", "diffusion/timesteps.py",
             "part = torch.randperm(batch, generator=generator)", "part = torch.arange(batch)"),
    Mutation("strata rolled, not shuffled", "diffusion/timesteps.py",
             "part = torch.randperm(batch, generator=generator)",
             "part = torch.arange(batch).roll(int(torch.randint(batch, (), generator=generator)))"),
    Mutation("continuous time one step late", "training/loss.py",
             "(times.t - 1 + times.within)", "(times.t + times.within)"),
    Mutation("uniform draws that never reach T", "training/randomness.py",
             "torch.randint(1, T + 1, (size,)", "torch.randint(1, T, (size,)"),
    Mutation("labels hidden by the stream of t", "training/randomness.py", '("t", "label-dropout")', '("t", "t")'),
    Mutation("mirrored by the stream of hidden labels", "data/loader.py",
             'generator(seed, "flip", step)', 'generator(seed, "label-dropout", step)'),
    Mutation("streams of noise all alike", "rng.py",
             "[generator(seed, stream) for seed in seeds]", '[generator(seed, "sample") for seed in seeds]'),
    Mutation("the noise of the steps is x_T", "rng.py",
             "for g in self.generators]",
             "for g in [torch.Generator().set_state(h.get_state()) for h in self.generators]]"),
    Mutation("positions without separators", "rng.py",
             '"/".join(map(str, (seed, *position)))', '"".join(map(str, (seed, *position)))'),
    Mutation("average: warm-up one update ahead", "training/ema.py",
             "((1 + self.updates) / (10 + self.updates))", "((2 + self.updates) / (10 + self.updates))"),
    Mutation("average: counts from 1", "training/ema.py",
             "self.updates = torch.zeros((), ", "self.updates = torch.ones((), "),
    Mutation("average: counts steps not taken", "training/ema.py", "self.updates += taken", "self.updates += 1"),
    Mutation("learning rate one step late", "training/budget.py",
             "(images + settings.batch_size) / max", "images / max"),
    Mutation("Muon: plain momentum", "training/optimizer.py",
             'aims = torch._foreach_lerp(gradients, momenta, group["momentum"])',
             "aims = [each.clone() for each in momenta]"),
    Mutation("held-out loss: t from 0", "training/means.py",
             "(1 + torch.randperm(count, generator=draws) * steps // count)",
             "(torch.randperm(count, generator=draws) * steps // count).clamp(min=1)"),
    Mutation("accumulation: a mean of means", "training/engine.py",
             "total / self.batch_size", "total / len(losses)"),
    Mutation("a gradient clipped at twice its limit", "training/step.py",
             "self.settings.clip_norm, norm)", "2 * self.settings.clip_norm, norm)"),
    Mutation("a step without the weights of its draws", "training/denoiser.py",
             "(self.weighting(self.diffusion, level) * random.times.weight).to(losses)",
             "self.weighting(self.diffusion, level).to(losses)"),
    Mutation("no class is the last class", "networks/conditions.py",
             "masked_fill(labels < 0, null_row)", "masked_fill(labels < 0, null_row - 1)"),
    Mutation("hidden by a draw for each kind", "condition.py",
             "mask.reshape(-1,", "mask.roll(each.ndim - 1).reshape(-1,"),
    Mutation("texts of the images beside them", "data/loader.py",
             "self.tokens_of(said)", "self.tokens_of([*said[1:], said[0]])"),
    Mutation("no text is the start of one alone", "networks/text.py", "empty[:, 0] -= 1", "empty[:, 0] -= 0"),
    Mutation("a blend of equal shares", "networks/conditions.py",
             "* weights[..., None, None].to(states.dtype)", "* weights.mean(1)[:, None, None, None].to(states.dtype)"),
    Mutation("a hidden blend keeps its shares", "condition.py",
             "torch.where(mask[:, None], _first(self.weights), self.weights)", "0.5 * torch.ones_like(self.weights)"),
    Mutation("hidden all or none of a batch", "training/randomness.py",
             "torch.rand(size, generator=hidden_generator)", "torch.rand(1, generator=hidden_generator).expand(size)"),
    Mutation("an attribute that is not told is 0", "networks/conditions.py",
             "~attributes.isnan()", "torch.ones_like(attributes)"),
    Mutation("a share's deviation for its error", "evaluation/metrics.py",
             "float(values.std()) / math.sqrt(len(values))", "float(values.std())"),
    Mutation("likelihood: the deviation for the error", "evaluation/likelihood.py",
             "math.sqrt(spread / len(values))", "math.sqrt(spread)"),
    Mutation("probes: the deviation for the error", "diffusion/probability_flow.py",
             "forms.std(0) / math.sqrt(len(forms))", "forms.std(0)"),
    Mutation("jackknife: as a bootstrap", "evaluation/metrics.py",
             "(len(values) - 1) * values.var(correction=0)", "values.var(correction=0)"),
    Mutation("balls: itself counted as a neighbour", "evaluation/metrics.py",
             "kthvalue(k + 1, dim=1)", "kthvalue(k, dim=1)"),
    Mutation("recall by the balls of real images", "evaluation/metrics.py",
             "recalled |= (distances <= radii[:, None]).any(dim=0)",
             "recalled |= (distances <= real_radii).any(dim=0)"),
    Mutation("kernel distance: an image with itself", "evaluation/metrics.py",
             "_kernel_sums(a, a) - _kernel(a, a), ", "_kernel_sums(a, a), "),
    Mutation("likelihood: noise by rank", "evaluation/bound_sums.py",
             "place) for place in places.tolist()]", "rank) for rank, _ in enumerate(places.tolist())]"),
    Mutation("likelihood: differences without their weight", "evaluation/bound_sums.py",
             "differences.append((cost - before) * subsample.weight)", "differences.append(cost - before)"),
    Mutation("lift: the wrong way round", "evaluation/caption_lift.py",
             "squared_errors(noised, told) - squared_errors(noised, asked)",
             "squared_errors(noised, asked) - squared_errors(noised, told)"),
    Mutation("lift: without the half", "evaluation/caption_lift.py",
             "(2 * math.log(2) * levels)", "(math.log(2) * levels)"),
    Mutation("lift: the deviation for the error", "evaluation/caption_lift.py",
             "float(bits.std()) / math.sqrt(len(bits))", "float(bits.std())"),
    Mutation("shares: images drawn for prompts", "evaluation/prompt_shares.py",
             "np.unique(np.array(prompts, object), return_inverse=True)",
             "np.unique(np.arange(len(prompts)), return_inverse=True)"),
    Mutation("scale-shift without its 1", "networks/layers.py", "h * (1 + scale) + shift", "h * scale + shift"),
    Mutation("kernel: a shift that is scaled", "networks/layers.py",
             "self.bias * (1 + scale) + shift", "(self.bias + shift) * (1 + scale)"),
    Mutation("kernel: the mean's gradient left out", "networks/fused.c", "all[c] = of_sums;", "all[c] = 0;"),
    Mutation("kernel: the spread's gradient doubled", "networks/fused.c",
             "along[c] = of_products;", "along[c] = 2 * of_products;"),
    Mutation("kernel: the gradient of the gain not normalised", "networks/fused.c",
             "= rstd * product[c];", "= product[c];"),
    Mutation("kernel: what is added has a mean", "networks/fused.c",
             "(inputs[c] * of_products + k->pixels * of_sums)", "inputs[c] * of_products"),
    Mutation("kernel: the slope of SiLU", "networks/fused.c", "(1 + z * (1 - s))", "(1 - z * s)"),
    Mutation("class added twice", "networks/conditions.py",
             "vectors.append(classes(", "vectors.append(2 * classes("),
    Mutation("no label is class 0", "networks/conditions.py",
             "torch.full((images.shape[0],), UNTOLD,", "torch.full((images.shape[0],), 0,"),
    Mutation("attention without what it was given", "networks/blocks.py",
             "return x + self.to_out(seen)", "return 0 * x + self.to_out(seen)"),
    Mutation("attention: heads that mix pixels", "networks/attention.py",
             "each.reshape(*each.shape[:2], heads, width).transpose(1, 2)",
             "each.reshape(each.shape[0], heads, each.shape[1], -1)"),
    Mutation("attention written out without its root", "networks/attention.py",
             "alpha=q.shape[2] ** -0.5", "alpha=q.shape[2] ** -1.0"),
    Mutation("dropout not scaled", "networks/layers.py",
             "noise.mul_(2**16 / (2**16 - dropped))", "noise"),
    Mutation("dropout of another share", "networks/layers.py", "dropped - 2**15, out", "dropped - 2**14, out"),
    Mutation("dropout drawn anew on the way back", "networks/layers.py",
             "return x * noise.mul_(2**16 / (2**16 - dropped))",
             "return x.detach() * noise.mul_(2**16 / (2**16 - dropped)) + super().forward(x - x.detach())"),
    Mutation("text: a token sees those to come", "networks/text.py",
             "places[:, None] >= places", "places[:, None] >= 0 * places"),
    Mutation("text: the first layer's keys for all", "networks/text.py",
             "text.keys_values[self.place]", "text.keys_values[0]"),
    Mutation("text: padding hidden from attention alone", "networks/text.py",
             "self.pool(self.norm1(text.states), text.seen)", "self.pool(self.norm1(text.states), None)"),
    Mutation("transformer: attention without its gate", "networks/dit.py",
             "x = x + gate_1 * self._attention", "x = x + self._attention"),
    Mutation("transformer: a scale without its 1", "networks/dit.py",
             "normed(x, self.norm_eps) * (1 + scale_2)", "normed(x, self.norm_eps) * scale_2"),
    Mutation("transformer: rows for columns", "networks/dit.py",
             "[along.expand(rows, -1, -1), down[:, None].expand(-1, columns, -1)]",
             "[down[:, None].expand(-1, columns, -1), along.expand(rows, -1, -1)]"),
    Mutation("transformer: places column after column", "networks/dit.py",
             "dim=2).flatten(0, 1)", "dim=2).transpose(0, 1).flatten(0, 1)"),
    Mutation("transformer: columns before rows in the image", "networks/dit.py",
             "*grid, patch, patch, -1)", "*grid[::-1], patch, patch, -1).transpose(1, 2)"),
    Mutation("transformer: a last layer that is loud at first", "networks/dit.py",
             "self.pixels = zeroed(linear(width, settings.patch**2 * out_channels))",
             "self.pixels = linear(width, settings.patch**2 * out_channels)"),
    Mutation("Fourier features heard at first", "networks/unet.py",
             "conv_in.weight[:, in_channels:] = 0", "conv_in.weight[:, in_channels:] *= 1"),
    Mutation("a classifier on top of the network's own", "pipeline/guiding.py",
             "settings.guidance - networks.conditional", "settings.guidance"),
    Mutation("autoguidance by a weaker network of no class", "pipeline/guiding.py",
             "networks.bind(known), networks.weaker(known))", "networks.bind(known), networks.weaker(known.null()))"),
    Mutation("published variance: beta_1", "diffusion/variances.py",
             "torch.where(s == 0, _least(schedule, t, s), schedule.beta(t, s))", "schedule.beta(t, s)"),
    Mutation("plan: the past from the wrong end", "sampling/plan.py", "_pair([i - len(before)])", "_pair([-1 - i])"),
    Mutation("plan: an interval without an end", "sampling/plan.py", "first <= t <= last", "first <= t"),
    Mutation("runner: too much noise on the way up", "../ancestral_lite/plans.py", "(1 - share**2) ** 0.5",
             "(1 - share) ** 0.5"),
    Mutation("runner: a past kept over the way up", "../ancestral_lite/plans.py", "past.clear()", "past.copy()"),
    Mutation("normals: half a pair thrown away", "../ancestral_lite/normals.py",
             "self._left[:count], self._left[count:]", "self._left[:count], []"),
)  # fmt: skip
"""One of each kind of mistake, most of them found in public code or made while this was written."""


class Found(NamedTuple):
    """What the self-test of a mutated copy said.

    Attributes:
        fault: why the mutation is no formula; "": it is one.
    """

    code: int
    failed: list[str]
    fault: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; 1 if a mutation survived."""
    parser = argparse.ArgumentParser("python -m benchmarks.mutations", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="WORD", default=[""], help="mutations whose names hold a word")
    parser.add_argument("--jobs", type=int, metavar="N", default=1, help="processes at a time [1]")
    words = parser.parse_args(argv)
    chosen = [each for each in MUTATIONS if any(word in each.name for word in words.only)]
    with ThreadPoolExecutor(words.jobs) as pool:
        sound, *found = pool.map(noticed, [None, *chosen])
    print("\n".join(table(chosen, found)))
    survived = [mutation.name for mutation, one in zip(chosen, found, strict=True) if one.code != 1 or not one.failed]
    senseless = [f"{mutation.name} ({one.fault})" for mutation, one in zip(chosen, found, strict=True) if one.fault]
    print(f"\n{len(chosen) - len(survived)} of {len(chosen)} mutations were noticed.")
    if survived:
        print(f"not noticed: {'; '.join(survived)}")
    if senseless:
        print(f"no formulas, to be written anew: {'; '.join(senseless)}")
    if sound.code:
        print(f"the package as it is fails: {'; '.join(sound.failed)}")
    return int(bool(survived or senseless or sound.code))


def noticed(mutation: Mutation | None) -> Found:
    """The exit code and the failed checks of a copy with this mutation; None: with none."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "src"
        shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        if mutation is not None:
            path = copy / "ancestral" / mutation.file
            path.write_text(mutated(mutation, path.read_text(encoding="utf-8")), encoding="utf-8")
        command = [sys.executable, "-m", "ancestral", "selftest", "--json"]
        environment = os.environ | {"PYTHONPATH": str(copy)}
        ran = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    if not ran.stdout:  # it did not even start
        last = ran.stderr.strip().splitlines()[-1:]
        return Found(ran.returncode, last, "".join(line for line in last if line.startswith(NO_FORMULA)))
    checks = json.loads(ran.stdout)["checks"]
    failed = [f"{each['group']}: {each['name']}" for each in checks if not each["held"]]
    return Found(ran.returncode, failed, next((e["fault"] for e in checks if e["fault"].startswith(NO_FORMULA)), ""))


def mutated(mutation: Mutation, text: str) -> str:
    """The text with the mutation in it.

    Raises:
        ValueError: its old text is not there exactly once.
    """
    if text.count(mutation.old) != 1:
        raise ValueError(
            f"{mutation.name}: expected {mutation.old!r} once in {mutation.file}, got it {text.count(mutation.old)} "
            "times; write the mutation anew"
        )
    return text.replace(mutation.old, mutation.new)


def table(mutations: Sequence[Mutation], found: Sequence[Found]) -> Iterator[str]:
    """Markdown, a line for each mutation."""
    yield "| mutation | file | exit code | failed | among them |"
    yield "|---|---|---|---|---|"
    for mutation, one in zip(mutations, found, strict=True):
        named = "; ".join(one.failed[:NAMED]).replace("|", "\\|")
        yield f"| {mutation.name} | `{mutation.file}` | {one.code} | {len(one.failed)} | {named} |"


if __name__ == "__main__":
    raise SystemExit(main())
