"""What is drawn: noise without state, and at a step of training every timestep alike, wherever in the batch.

Draws are functions of a seed and a position: many of them tell whether two streams are related. `NOISE` are the checks
of the noise of images and of their pixels, `CHECKS` those of training.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

import ancestral_lite as lite
from ancestral.data.loader import batch_indices, flips
from ancestral.oracles import double
from ancestral.rng import ImageNoise, generator, mix
from ancestral.selftest.checks import Checks
from ancestral.settings import TrainingSettings
from ancestral.tensors import from_pixels, to_pixels
from ancestral.training.randomness import randomness_of

CHECKS = Checks()
NOISE = Checks()


@NOISE("recorded numbers of seed 17", 1e-12)
def recorded(_: torch.device) -> tuple[Tensor, int]:
    """Draws are made on the CPU for every device."""
    first = ImageNoise([17], (3,), dtype=torch.float64)()[0]
    recorded = double(-1.4930069097636214, 1.5770358482092568, 0.6468870969403772)
    return first - recorded, mix(17, "sample") - 5955173394685240372


@NOISE("the noise of images by NumPy is torch's", 1e-6)
def by_numpy(_: torch.device) -> Iterator[Tensor]:
    """Blocks of 16, their rest, and fewer than 16 numbers, in draws one after the other."""
    for shape in ((1, 8, 8), (3, 5, 7), (1, 3, 3), (17,), (5,)):
        ours, theirs = ImageNoise(range(50), shape), lite.SeededNoise(range(50), shape)
        yield from (ours() - torch.from_numpy(theirs()) for _ in range(3))


@NOISE("image 17 alone is image 17 in a batch", 0)
def same_in_any_batch(device: torch.device) -> tuple[Tensor, Tensor]:

    def second(*seeds: int) -> Tensor:
        noise = ImageNoise(seeds, (1, 4, 4), device)
        noise()
        return noise()

    return second(17)[0] - second(3, 17, 5)[1], second(17, 2)[0] - second(17)[0]


@NOISE("streams, seeds, draws: N(0, 1) each, in standard errors", 5)
def alike(_: torch.device) -> tuple[Tensor, ...]:
    """Of 4096 numbers each. The first draw is x_T, the later ones are the noise of the steps."""
    names = ("sample", "chain", "probes", "measurement")
    noises = [ImageNoise([7, 8], (4096,), dtype=torch.float64, stream=name) for name in names]
    draws = torch.cat([noise() for noise in noises for _ in range(3)])
    products = draws @ draws.T / 4096**0.5
    squares = products.diagonal()
    return draws.mean(1) * 4096**0.5, (squares - 4096**0.5) / 2**0.5, products - squares.diag()


@NOISE("no two positions share a seed or their numbers", 0)
def read_alike(_: torch.device) -> tuple[int, int]:
    """Of many, and of numbers that read alike in a row, and with one part changed."""
    places = itertools.product(range(3), range(1000))
    first = {float(torch.rand((), generator=generator(*place, "t"), dtype=torch.float64)) for place in places}
    parts: list[tuple[int, *tuple[int | str, ...]]]
    parts = [(1, 23), (12, 3), (1, 2, 3), (123,), (1, "23"), (1, 23, "t"), (1, 23, "eps"), (2, 23), (1, 24), (1, 23, 4)]
    parts += [(1, 23, "t", 4), (1, 23, "t", 5), (1, "t", 23), (0, "t", 23), (-1, "t", 23), (1, "t", -23)]
    return 3000 - len(first), len({"/".join(map(str, part)) for part in parts}) - len({mix(*part) for part in parts})


@NOISE("pixels to [-1, 1] and back", 1e-7)
def pixels(device: torch.device) -> tuple[Tensor, Tensor]:
    every = torch.arange(256, device=device).to(torch.uint8)
    known = from_pixels(every[[0, 51, 255]]).double()
    return to_pixels(from_pixels(every)).int() - every.int(), known - double(-1, -0.6, 1, device=device)


# Training

TimestepDraw = Literal["uniform", "stratified", "importance"]
MANY = 4096  # images of a batch whose draws are compared
TIMESTEPS: dict[TimestepDraw, int] = {"uniform": 2**24, "stratified": 4096}
"""T; of the first so large that t and another draw out of its stream of float32 are the same number."""
CPU = torch.device("cpu")


def told(how: TimestepDraw, seed: int, step: int) -> dict[str, Tensor]:
    """Everything random in a step, (MANY,) float64 each, of mean 0."""
    settings = TrainingSettings(steps=1, batch_size=MANY, timesteps=how, label_dropout=0.5, augment=0.5)
    T, image = TIMESTEPS[how], (1, 1, 1)
    times, eps, hidden, _, changes = randomness_of(settings, seed, step, image, T, CPU, None, image=image)
    assert changes is not None
    order = batch_indices(seed, step, MANY, MANY)
    numbers = {
        "t": times.t / T,
        "within": times.within,
        "eps": eps[:, 0, 0, 0],
        "size of eps": eps[:, 0, 0, 0].abs(),
        "hidden": hidden,
        "mirrored": flips(seed, step, MANY),
        "changed": changes[:, 0],
        "turned": changes[:, 5],
        "order": order / MANY,
    }
    return {name: each.double() - each.double().mean() for name, each in numbers.items()}


def correlation(one: Tensor, other: Tensor) -> Tensor:
    """In standard errors of that of independent numbers."""
    return (one * other).mean() / (one.square().mean() * other.square().mean()).sqrt() * MANY**0.5


@CHECKS("{how}: unrelated, in standard errors", 5, how=TIMESTEPS)
def unrelated(how: TimestepDraw, _: torch.device) -> Iterator[Tensor]:
    """The correlations of two draws of a step, and of a draw with those of other steps and seeds."""
    here, *others = (told(how, *position) for position in ((0, 1), (0, 2), (1, 1), (1, 0)))
    for one, two in itertools.combinations(here, 2):
        if {one, two} != {"eps", "size of eps"}:
            yield correlation(here[one], here[two])
    for there, one, two in itertools.product(others, here, here):
        yield correlation(here[one], there[two])


@CHECKS("{how}: every t at every place, in standard errors", 5, how=("uniform", "stratified", "importance"))
def every_time(how: TimestepDraw, _: torch.device) -> Iterator[Tensor | float]:
    """Timesteps 1..8 of 4096 images, and where within them; each place in the batch has all of them over the steps."""
    settings = TrainingSettings(steps=1, batch_size=16, timesteps=how)
    draws = [randomness_of(settings, 3, step, (1, 1, 1), 8, CPU, None) for step in range(256)]
    t, within = (torch.stack([getattr(each.times, name) for each in draws]).double() for name in ("t", "within"))
    if not bool(((t >= 1) & (t <= 8) & (within >= 0) & (within < 1)).all()):
        yield math.inf
    counts = torch.stack([(t == k).double().sum() for k in range(1, 9)])
    yield (counts - 512) / (512 * 7 / 8) ** 0.5
    yield (t.mean(0) - 4.5) / (63 / 12 / 256) ** 0.5
    yield (within.mean(0) - 0.5) * (12 * 256) ** 0.5
    yield 1e6 * (torch.stack([each.times.weight for each in draws]) - 1)
