"""What a network must satisfy before it has learned anything: its size, its first output, what it hears of time."""

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ancestral.condition import UNTOLD, Condition
from ancestral.networks.backbone import Backbone, build, weightless
from ancestral.networks.blocks import Attention, ResnetBlock
from ancestral.networks.conditions import Told
from ancestral.networks.dit import DiTBlock, places
from ancestral.networks.layers import Dropout, GroupNorm, sinusoids
from ancestral.networks.text import TextShape
from ancestral.oracles import double, normal
from ancestral.presets import PRESETS
from ancestral.sampling.denoiser import Cached
from ancestral.selftest.batches import NETWORK, TRANSFORMER, loud
from ancestral.selftest.checks import Checks, largest
from ancestral.settings import NetworkSettings

CHECKS = Checks()


@CHECKS("sinusoids of time, from tables", 2e-6)
def waves(device: torch.device) -> tuple[Tensor, Tensor]:
    """Of t = 1 and 1000, width 4: frequencies 1 and 1e-4, or with shift 0 1 and 1e-2."""
    time = torch.tensor([1.0, 1000.0], device=device)
    shifted = sinusoids(time, 4, "sin-cos", 1).double()
    plain = sinusoids(time[:1], 4, "cos-sin", 0).double()
    wanted = double(0.8414709848, 1e-4, 0.5403023059, 0.999999995, device=device)
    late = double(0.8268795405, 0.0998334166, 0.5623790763, 0.9950041653, device=device)
    other = double(0.5403023059, 0.9999500004, 0.8414709848, 0.0099998333, device=device)
    return shifted - torch.stack([wanted, late]), plain - other


def network(classes: int = 0, settings: NetworkSettings = NETWORK) -> Backbone:
    """A network of two channels, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(settings, 2, 2, Told(classes)).eval()


@CHECKS("a new {name} answers 0", 0, name=("U-Net", "transformer"))
@torch.no_grad()
def starts_at_zero(name: str, device: torch.device) -> Tensor:
    x = torch.linspace(-1, 1, 192, device=device).reshape(2, 2, 6, 8)
    made = network(settings=NETWORK if name == "U-Net" else TRANSFORMER)
    return made.to(device)(x, torch.tensor(500.0, device=device))


@CHECKS("a transformer's block: torch's, scaled, shifted and gated", 1e-12)
@torch.no_grad()
def transformed(device: torch.device) -> Tensor:
    """What scales and shifts is the norms' own weight and bias there; what gates is part of the last layers."""
    block, x = loud(DiTBlock(TRANSFORMER), device), normal(2, 6, 16, device=device)
    plain = nn.TransformerEncoderLayer(
        16, 2, 64, 0.0, partial(F.gelu, approximate="tanh"), 1e-6, batch_first=True, norm_first=True, device=device
    ).double()
    shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = block.modulation.bias.chunk(6)
    heard, said = (block.to_q, block.to_k, block.to_v), ((gate_1, block.to_out), (gate_2, block.narrow))
    out, narrow = ((gate[:, None] * layer.weight, gate * layer.bias) for gate, layer in said)
    inner = torch.cat([each.weight for each in heard]), torch.cat([each.bias for each in heard])
    values = (*inner, *out, *block.widen.parameters(), *narrow, 1 + scale_1, shift_1, 1 + scale_2, shift_2)
    for parameter, value in zip(plain.parameters(), values, strict=True):
        parameter.copy_(value)
    return block(x, torch.zeros(2, 16, dtype=torch.float64, device=device)) - plain(x)


@CHECKS("places of patches on a rectangle, from tables", 1e-6)
def placed(device: torch.device) -> Tensor:
    """Two rows of three: sine and cosine of the column 0..2, then of the row, row after row."""
    sines, cosines = (0.0, 0.8414709848, 0.9092974268), (1.0, 0.5403023059, -0.4161468365)
    columns, rows = [0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 1]
    wanted = [double(*(wave[n] for n in at), device=device) for at in (columns, rows) for wave in (sines, cosines)]
    return places(2, 3, 4, device).double() - torch.stack(wanted, dim=1)


@CHECKS("blocks without a gate: a patch is answered where it lies", 0)
@torch.no_grad()
def answered_in_place(device: torch.device) -> Iterator[Tensor | float]:
    """On a rectangle, another patch of the image changes the output there and nowhere else."""
    made, x = loud(network(settings=TRANSFORMER), device), normal(1, 2, 4, 8, device=device)
    for block in made.blocks():
        block.get_parameter("modulation.weight").zero_()
        block.get_parameter("modulation.bias").zero_()
    other, inside = x.clone(), torch.zeros(4, 8, dtype=torch.bool, device=device)
    inside[2:4, 4:6] = True
    other[..., inside] += 1
    time = torch.tensor(500.0, device=device)
    change = made(other, time) - made(x, time)
    yield change[..., ~inside]
    if float(change[..., inside].abs().min()) < 1e-6:
        yield math.nan


@CHECKS("Fourier features are not heard at first", 0)
@torch.no_grad()
def starts_deaf(device: torch.device) -> Tensor | float:
    weight = network().get_parameter("conv_in.weight")
    return weight[:, 2:] if float(weight[:, :2].abs().min()) > 0 else math.nan


@CHECKS("a class is added to the time, once; none is the last", 1e-12)
@torch.no_grad()
def added_once(device: torch.device) -> Iterator[Tensor | float]:
    """No label is -1 for all, no class; time is heard too."""
    unet, plain = (loud(network(3), device) for _ in range(2))
    time = double(3, 500, device=device)
    x, told = normal(2, 2, 4, 4, device=device), Condition(torch.tensor([2, 2], device=device))
    found, unlabelled = unet(x, time, told), unet(x, time)
    plain.get_parameter("class_embedding.weight").zero_()
    plain.get_parameter("time_embedding.linear_2.bias").add_(unet.get_parameter("class_embedding.weight")[2])
    last = Condition(torch.tensor([3, UNTOLD], device=device))
    yield from (unet(x, time, last) - unlabelled, plain(x, time) - found)
    if min(largest(found - each) for each in (unlabelled, unet(x, time.flip(0), told))) < 1e-6:
        yield math.nan


@CHECKS("attributes: hidden is nothing told, and that is no 0", 1e-12)
@torch.no_grad()
def hidden_whole(device: torch.device) -> Iterator[Tensor | float]:
    """Of one image of three, class and attributes; the others are told what they were."""
    with torch.random.fork_rng(devices=[]):
        unet = loud(build(NETWORK, 2, 2, Told(3, num_attributes=2)), device)
    x, time, numbers = normal(3, 2, 4, 4, device=device), double(3, 500, 9, device=device), normal(3, 2, device=device)
    told = Condition(torch.arange(3, device=device), numbers)
    found = unet(x, time, told.hidden(torch.tensor([False, True, False], device=device)))
    null, zero = unet(x, time), unet(x, time, Condition(attributes=0 * numbers))
    yield from (found[1] - null[1], (found - unet(x, time, told))[::2])
    if largest(zero - null) < 1e-6:
        yield math.nan


@CHECKS("texts: none is the empty one; a blend is a mean by shares", 1e-12)
@torch.no_grad()
def read_in_words(device: torch.device) -> Iterator[Tensor | float]:
    """Of twenty tokens 18 begins a text and 19 ends it and fills it up; hidden are blends as a whole."""
    with torch.random.fork_rng(devices=[]):
        unet = loud(build(NETWORK, 2, 2, Told(text=TextShape(20, 5, 8, 2, 2))), device)
    x, time = normal(3, 2, 4, 4, device=device), double(3, 500, 9, device=device)
    rows = torch.tensor([[18, 3, 7, 19, 19], [18, 5, 3, 7, 19], [18, 19, 19, 19, 19]], device=device)
    texts, empty, shares = Condition(tokens=rows), Condition(tokens=rows[2:].expand(3, -1)), double(0.7, 0.3)
    null, one, other = (unet(x, time, each) for each in (empty, texts, texts.rows(torch.tensor([1, 0, 2]))))
    yield from (unet(x, time) - null, unet(x, time, texts.null()) - null)
    pairs = torch.stack([rows, rows[torch.tensor([1, 0, 2])]], 1)
    weights = shares.float().to(device)
    blends = Condition(tokens=pairs, weights=weights.expand(3, 2))
    read = [unet.read(each, x).text for each in (blends, *(Condition(tokens=pairs[:, i]) for i in range(2)))]
    mixed, *states = (text.states for text in read if text is not None)
    yield mixed - (weights.double()[0] * states[0] + weights.double()[1] * states[1])
    hidden = unet(x, time, blends.hidden(torch.tensor([False, True, False], device=device)))
    yield from (hidden[1] - null[1], (hidden - unet(x, time, blends))[::2])
    if min(largest(a[:2] - b[:2]) for a, b in ((one, null), (one, other), (hidden, one))) < 1e-6:
        yield math.nan


@CHECKS("{name}: a text is read once, without padding", 1e-12, name=("U-Net", "transformer"))
@torch.no_grad()
def told_a_text(name: str, device: torch.device) -> Iterator[Tensor | float]:
    """Of three images the last is not told; of two texts that begin alike the beginnings are."""
    with torch.random.fork_rng(devices=[]):
        settings = NETWORK if name == "U-Net" else TRANSFORMER
        made = loud(build(settings, 2, 2, Told(text=TextShape(20, 6, 8, 2, 2, masked=True))), device)
    tokens = torch.tensor([[18, 3, 4, 19, 19, 19], [18, 3, 5, 19, 19, 19], [UNTOLD] * 6], device=device)
    x, time, told = normal(3, 2, 4, 4, device=device), double(3, 3, 3, device=device), Condition(tokens=tokens)
    found, once = made(x, time, told), made.embedded(told, 3)
    assert once.text is not None
    apart = once.text.states[0] - once.text.states[1]
    yield from (found - made(x, time, once), apart[:2])
    if largest(apart[2]) < 1e-6 or largest(once.vectors[0][0] - once.vectors[0][1]) < 1e-6:
        yield math.nan
    made.get_parameter("text_encoder.text_model.embeddings.position_embedding.weight")[4:] *= -1
    yield found - made(x, time, told)


@CHECKS("time by {how}: none is the identity", 1e-12, how=("add", "scale-shift"))
@torch.no_grad()
def identity_of(conditioning: str, device: torch.device) -> Iterator[Tensor]:
    """Told nothing of time, a block normalises and no more: as one that adds 0; told a scale and a shift, those."""
    settings = (NETWORK.model_copy(update={"time_conditioning": how}) for how in (conditioning, "add"))
    block, plain = (loud(ResnetBlock(each, 8, 8), device) for each in settings)
    same = {name: weight for name, weight in plain.state_dict().items() if not name.startswith("time_emb_proj")}
    block.load_state_dict({**block.state_dict(), **same})
    x, time = normal(2, 8, 3, 3, device=device), torch.zeros(2, 32, dtype=torch.float64, device=device)
    for each in (block, plain):
        each.time_emb_proj.bias.zero_()
    yield block(x, time) - plain(x, time)
    if conditioning == "scale-shift":
        told = normal(16, device=device)
        block.time_emb_proj.bias.add_(told)
        plain.norm2.bias.copy_(plain.norm2.bias * (1 + told[:8]) + told[8:])
        plain.norm2.weight.mul_(1 + told[:8])
        yield block(x, time) - plain(x, time)


@CHECKS("norm, time by {how}: float32 and gradients as float64", 1e-4, how=("add", "scale-shift"))
def in_one_pass(conditioning: str, device: torch.device) -> Iterator[Tensor]:
    """On a CPU with a compiler float32 is the kernel's, and float64 never."""
    found = (norm_gradients(conditioning, dtype, device) for dtype in (torch.float32, torch.float64))
    yield from (ours.double() - truth for ours, truth in zip(*found, strict=True))


def norm_gradients(conditioning: str, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """The output of a norm with SiLU, and the gradients of all that it is made of."""
    norm, (x, upstream) = loud(GroupNorm(2, 24), device).to(dtype), normal(2, 2, 24, 5, 6, device=device).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    scale, shift = (row.to(dtype).requires_grad_() for row in normal(2, 2, 24, device=device))
    rows = [shift] if conditioning == "add" else [scale, shift]
    y = norm(x, added=shift, activates=True) if len(rows) == 1 else norm(x, modulation=(scale, shift), activates=True)
    return [y, *torch.autograd.grad(y, [x, *rows, *norm.parameters()], upstream)]


@CHECKS("attention of {heads}, pixel by pixel", 1e-12, heads=("one head", "two heads"))
@torch.no_grad()
def attended(heads: str, device: torch.device) -> Tensor:
    """Softmax of q k / sqrt(d) over all pixels, added to what it was given."""
    width = 16 if heads == "one head" else 8
    settings = NETWORK.model_copy(update={"head_width": width})
    module, x = loud(Attention(settings, 16), device), normal(2, 16, 2, 3, device=device)
    normed = module.group_norm(x).flatten(2)
    wanted = x.flatten(2).clone()
    for image, pixel in ((i, j) for i in range(2) for j in range(6)):
        q, k, v = (to(normed[image].T) for to in (module.to_q, module.to_k, module.to_v))
        parts = [slice(start, start + width) for start in range(0, 16, width)]
        shares = [torch.softmax(k[:, part] @ q[pixel, part] / width**0.5, 0) for part in parts]
        seen = torch.cat([share @ v[:, part] for share, part in zip(shares, parts, strict=True)])
        wanted[image, :, pixel] += module.to_out(seen)
    return module(x).flatten(2) - wanted


@CHECKS("dropout: its share, its scale, the same on the way back", 1e-4)
def dropped(device: torch.device) -> tuple[Tensor, Tensor]:
    """Of 2^16 numbers; the share in standard errors, where it is more than five away from 0.1."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        x = torch.ones(2**16, dtype=torch.float64, device=device, requires_grad=True)
        found = Dropout(0.1)(x)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    away = ((found == 0).double().mean() - 0.1).abs() * 2**8 / 0.3
    return away.where(away > 5, 0), gradient - (found > 0) / 0.9


@CHECKS("cache: whole at every {n}. call, from the first on", 0, n=(1, 2, 3))
def in_phase(every: int, _: torch.device) -> int:
    """Ten calls, where the output and the deep features of a whole call are its time."""

    def network(x: Tensor, time: Tensor, deep: Tensor | None) -> tuple[Tensor, Tensor]:
        return (time, time) if deep is None else (deep, deep)

    cached, zero = Cached(network, every), torch.zeros(1)
    found = [int(cached(zero, torch.tensor([float(call)]))) for call in range(10)]
    return sum(each != call // every * every for call, each in enumerate(found))


@CHECKS("the DDPM paper's network has 35,746,307 parameters", 0)
def published_size(_: torch.device) -> int:
    with weightless():
        unet = build(PRESETS["ddpm-cifar10"]().network, 3, 3)
    return sum(weight.numel() for weight in unet.parameters()) - 35_746_307
