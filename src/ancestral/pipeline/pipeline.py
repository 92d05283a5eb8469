"""A pipeline: a process, a network, a codec, and what its images are: what training leaves and sampling needs."""

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache as once
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ancestral.codec import PIXELS, Codec, check_pixels
from ancestral.compute import Choices, on_device, resolve
from ancestral.condition import NOTHING_TOLD, UNTOLD, Condition
from ancestral.data.imageset import ImageSet
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.variances import Analytic
from ancestral.errors import InputError
from ancestral.networks.backbone import Backbone
from ancestral.networks.conditions import Embedded
from ancestral.networks.interface import argument
from ancestral.networks.latents import LatentCodec
from ancestral.networks.rounding import FloatBits
from ancestral.networks.weights import channels_last, check_answer, first_not_finite, weights_hash
from ancestral.pipeline import calling
from ancestral.pipeline.building import VARIANCES, build_diffusion, build_grid, build_sampler, latent_spec, outputs
from ancestral.pipeline.calling import (
    AttributeValues,
    Classes,
    Pictures,
    PromptsGiven,
    SharesGiven,
    prompts_of,
    sampling_of,
    seeds_of,
)
from ancestral.pipeline.classifying import NoisyClassifier
from ancestral.pipeline.folder import Contents, build_network, named_tokenizer, read_folder, with_tokens, write_folder
from ancestral.pipeline.generate import NOTHING, GeneratingEvent, Keep, collected, collecting, generating
from ancestral.pipeline.guiding import Networks, guided
from ancestral.processes import SINGLE_PROCESS, Processes
from ancestral.progress import finish
from ancestral.rng import ImageNoise, generator
from ancestral.sampling.denoiser import Cached, Denoiser, Finite, NetworkDenoiser, clipped
from ancestral.sampling.loop import Chain, Step
from ancestral.sampling.plan import Plan, compile_plan
from ancestral.sampling.samplers import Sampler
from ancestral.settings import (
    ComputeSettings,
    Config,
    ImageSpec,
    NetworkSettings,
    ReverseVariance,
    SamplingSettings,
    merged,
)
from ancestral.tensors import Data, Labels, Pixels, Timesteps, is_finite
from ancestral.text_reader import TextReader

VAST = 1e4  # no image on its way from noise holds a number so large


@dataclass(frozen=True, eq=False, repr=False)
class Pipeline:
    """Settings, the shape of an image, the process and the network, on one device. Frozen: `with_...` give another one.

    It is made by `fresh` or `load`, which decide how this machine computes; the constructor takes what it is given.
    """

    config: Config  # `config.sampling` is how images are generated unless asked otherwise
    spec: ImageSpec
    diffusion: GaussianDiffusion
    network: nn.Module
    device: torch.device
    compute: Choices
    codec: Codec = PIXELS  # between its images and the x0 that the network sees
    analytic: Analytic | None = None  # the best variance of its reverse steps, measured for these weights
    weaker: "Pipeline | None" = None  # for the same images and schedule, to be guided by; it is not saved
    classify: NoisyClassifier | None = None  # likewise; it lends its classes to a network that knows none
    tokenizer: TextReader | None = None  # of the texts that its network is told
    processes: Processes = SINGLE_PROCESS  # that share the work of `generate`, with pipelines of the same weights

    @classmethod
    def fresh(
        cls,
        config: Config,
        spec: ImageSpec,
        device: torch.device | str | None = None,
        network: nn.Module | None = None,
        codec: Codec = PIXELS,
        tokenizer: TextReader | None = None,
    ) -> "Pipeline":
        """An untrained pipeline, its weights drawn from the seed of `config`. `device`, None: CUDA where there is one.

        `network`: one of one's own instead, with its weights: a module of (x, time, labels), see docs/networks.md.
        `codec`: what makes x0 of the images. `tokenizer`: of the texts that the network is told.
        """
        tokenizer = tokenizer or named_tokenizer(config.text)
        spec = with_tokens(config, spec, tokenizer)
        if network is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(generator(config.seed, "weights").initial_seed())
                network = build_network(config, latent_spec(codec, spec))
        return cls._of(Contents(config, spec, codec, network, tokenizer=tokenizer), device)

    @classmethod
    def load(
        cls,
        folder: Path | str,
        device: torch.device | str | None = None,
        compute: ComputeSettings | None = None,
        null_class: int | None = None,
        network: nn.Module | None = None,
        codec: Codec | None = None,
    ) -> "Pipeline":
        """The pipeline in a folder that `save` or diffusers wrote, or in a run's `pipeline/`. Needs no settings.

        Args:
            device: None: CUDA where there is one.
            compute: how this machine is used, of which the folder says nothing. None: the defaults.
            null_class: of a folder of diffusers, which does not say it: the class that was trained to stand for none.
                None: there is no such class, and guidance is refused.
            network: where the folder holds the weights of a network of one's own: such a network, which gets them.
            codec: where it was saved with a codec of one's own: the same one.
        """
        contents = read_folder(folder, null_class, network, codec)
        config = contents.config.model_copy(update={"compute": compute or ComputeSettings()})
        return cls._of(contents._replace(config=config), device)

    @classmethod
    def _of(cls, contents: Contents, device: torch.device | str | None) -> "Pipeline":
        config, spec, codec, network, analytic, tokenizer = contents
        if not isinstance(network, Backbone):  # which is told labels alone
            spec = spec.model_copy(update={"attributes": (), "text": None})
        if config.diffusion.prediction == "levels" or config.training.loss in ("vlb", "hybrid"):
            check_pixels(codec, "diffusion.prediction levels and training.loss vlb or hybrid")
        where, diffusion, seen = on_device(device), build_diffusion(config.diffusion), latent_spec(codec, spec)
        placed, codec = channels_last(network.to(where)), codec.to(where) if isinstance(codec, LatentCodec) else codec
        made = cls(config, spec, diffusion, placed, where, Choices(), codec, analytic, tokenizer=tokenizer)
        if made.network_settings is None:
            check_answer(network, seen.shape, outputs(config.diffusion, seen), made.num_classes, where)
        return made.with_compute(resolve(config.compute, made.network_settings, seen, where))

    def with_compute(self, choices: Choices) -> "Pipeline":
        """The same pipeline that computes so. The number of threads is the whole process's."""
        if choices.threads is not None:
            torch.set_num_threads(choices.threads)
        return replace(self, compute=choices)

    def by_torch(self, what: str | None) -> "Pipeline":
        """The same pipeline that calls its networks by torch, for `what` no other engine does: an InputError where
        another was asked for. None: whatever was."""
        asked = self.config.compute.engine
        if what is not None and self.compute.engine == asked != "torch":
            raise InputError(f"expected compute.engine torch for {what}, got {asked}; leave it out")
        weaker = None if self.weaker is None else self.weaker.by_torch(what)
        return replace(self, compute=self.compute.by_torch, weaker=weaker)

    def with_network(self, network: nn.Module) -> "Pipeline":
        """The same pipeline around another network of the same shape; what guides it and what was measured is left."""
        placed = channels_last(network.to(self.device))
        return replace(self, network=placed, analytic=None, weaker=None, classify=None, processes=SINGLE_PROCESS)

    def with_guides(self, weaker: "Pipeline | None" = None, classify: NoisyClassifier | None = None) -> "Pipeline":
        """The same pipeline that others may guide: these, and none that it had. Nothing of them is saved."""
        return replace(self, weaker=weaker, classify=classify)

    def with_processes(self, processes: Processes) -> "Pipeline":
        """The same pipeline that shares the work of `generate` with other processes, together: all compute in the
        precision and the chunks that the main one has chosen."""
        chosen = Choices.model_validate_json(processes.broadcast(self.compute.model_dump_json()))
        compute = chosen.model_copy(update={"threads": self.compute.threads})
        return replace(self, processes=processes, compute=compute)

    def with_num_timesteps(self, num_timesteps: int) -> "Pipeline":
        """The same network, process and ends with another T."""
        if not self.config.diffusion.tells_noise or self.config.diffusion.schedule.name == "betas":
            raise InputError(
                f"expected T = {self.diffusion.num_timesteps}, got {num_timesteps}: only a network that is told the "
                "noise itself (diffusion.time log-snr or flow) knows other timesteps than its own"
            )
        changes = {"diffusion": {"schedule": {"num_timesteps": num_timesteps}}}
        config = merged(self.config, changes, f"T = {num_timesteps}")
        return replace(self.with_network(self.network), config=config, diffusion=build_diffusion(config.diffusion))

    def with_schedule(self, schedule: dict[str, Any], where: str) -> "Pipeline":
        """The same network under another noise schedule, by its settings, which `where` says; what guides it and what
        was measured under its own is left."""
        if not self.config.diffusion.tells_noise:
            raise InputError(
                f"expected a network that is told the noise itself (diffusion.time log-snr or flow) with {where}, got "
                f"one that is told the {self.config.diffusion.time}; leave it out"
            )
        diffusion = merged(self.config.diffusion, {"schedule": schedule}, where)
        config = self.config.model_copy(update={"diffusion": diffusion})
        return replace(self.with_network(self.network), config=config, diffusion=build_diffusion(diffusion))

    def to(self, device: torch.device | str) -> "Pipeline":
        """The same pipeline on another device, with weights of its own there, and so the networks that it is guided
        by; itself where it is there already."""
        where = on_device(device)
        if where == self.device:
            return self
        network = copy.deepcopy(self.network)
        moved = self._of(Contents(self.config, self.spec, self.codec, network, self.analytic, self.tokenizer), where)
        weaker, classify = self.weaker and self.weaker.to(where), self.classify and self.classify.to(where)
        return replace(moved, weaker=weaker, classify=classify, processes=self.processes)

    @property
    def latent_spec(self) -> ImageSpec:
        """What the network sees: the shape of x0, and the classes."""
        return latent_spec(self.codec, self.spec)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of x0, of x_t and of the noise of one image."""
        return self.latent_spec.shape

    @property
    def num_classes(self) -> int:
        """Real classes that the network knows; 0 where it knows none."""
        return len(self.spec.class_names)

    @property
    def knows_null(self) -> bool:
        """Whether the network can be told nothing of an image: it never is told anything, or has learned that too."""
        learned = self.spec.null_class != "none" and self.config.training.label_dropout > 0
        return learned or not self.spec.kinds

    @property
    def class_names(self) -> tuple[str, ...]:
        """What may be asked for: the network's classes, else those that a classifier lends it, else none."""
        return self.spec.class_names or (() if self.classify is None else self.classify.class_names)

    @property
    def network_settings(self) -> NetworkSettings | None:
        """What describes the network; None where it is one of one's own, of which `config.network` says nothing."""
        return self.config.network if isinstance(self.network, Backbone) else None

    def __repr__(self) -> str:
        channels, height, width = self.spec.shape
        kind = {1: "grey", 3: "RGB"}.get(channels, f"of {channels} channels")
        kinds = self.spec.model_copy(update={"class_names": self.class_names}).kinds or "no classes"
        weights, how = sum(parameter.numel() for parameter in self.network.parameters()), self.config.sampling
        generated = f"{how.sampler} by {how.steps} steps"
        return f"Pipeline({height}x{width} {kind}, {kinds}, {weights:,} weights on {self.device}, {generated})"

    def __call__(
        self,
        num_images: int | None = None,
        labels: Classes = None,
        *,
        attributes: AttributeValues = None,
        prompt: PromptsGiven = None,
        blend: SharesGiven = None,
        between: bool = False,
        seed: int = 0,
        seeds: Iterable[object] | None = None,
        output: str = "pil",
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        **settings: Any,
    ) -> Pictures | Pixels | np.ndarray:
        """Generated images. `pipeline(4, labels=["cat", 3], steps=20)`, `pipeline(prompt="a red square", guidance=3)`.

        Args:
            num_images: None: as many as seeds, or as labels, attributes or prompts in a list, or one.
            labels: the class of all, or of each in turn: name, index, or None for no class; a list, tensor or array.
            attributes: numbers by name, {"age": 0.3}, of all, or of each in a list; what is left out is not told.
            prompt: what to show, in words, of all, or of each in turn; None: no text.
            blend: all images show a mix of the prompts, by these shares.
            between: images lie evenly on the way from the first prompt to the last.
            seed: of the first image; the next one's is 1 more.
            seeds: one for each image, in place of `seed`.
            output: "pil": a list of Pillow images, which a notebook shows as a grid; "tensor": (B, C, H, W) uint8, as
                `generate` gives it; "array": (B, H, W, C) uint8 of numpy.
            on_progress: as in `generate`.
            settings: any setting of sampling, over those of `config.sampling`: sampler, steps, eta, guidance, ...
        """
        how = calling.settings_of(self.config.sampling, settings)
        wanted = calling.one_of(output, calling.OUTPUTS, "output", calling.SAME_OUTPUTS)
        lists = [each for each in (attributes, prompt if blend is None else None) if isinstance(each, list | tuple)]
        of = seeds_of(num_images, lists[0] if lists and labels is None else labels, seed, seeds)
        asked, negative = prompts_of(prompt, blend, between), [how.negative] if how.negative else []
        if self.tokenizer and (cut := calling.cut_in_words([*asked.texts, *negative], self.tokenizer)):
            warnings.warn(cut, stacklevel=2)
        condition = self.condition(labels, len(of), attributes, asked)
        if condition == NOTHING_TOLD and settings.get("guidance", 1) not in (0, 1):
            raise InputError(
                f"expected labels, attributes or a prompt with guidance {settings['guidance']}, got none: nothing is "
                "followed"
            )
        return calling.as_output(self.generate(of, condition, how, on_progress=on_progress), wanted)

    def condition(
        self,
        labels: Classes = None,
        count: int = 1,
        attributes: AttributeValues = None,
        prompt: PromptsGiven = None,
        blend: SharesGiven = None,
        between: bool = False,
    ) -> Condition:
        """What is asked of each of `count` images, given as in a call; a condition as it is."""
        if isinstance(labels, Condition):
            return labels
        classes = calling.labels_of(labels, count, self.class_names, self.num_classes)
        numbers = calling.attributes_of(attributes, count, self.spec.attributes)
        reads = self.spec.text is not None
        tokens, weights = calling.tokens_of(prompts_of(prompt, blend, between), count, self.tokenizer, reads)
        if classes is None and numbers is None and tokens is None:
            return NOTHING_TOLD
        # with what is not told of a kind that the network knows, so that two conditions have the same kinds
        if classes is None and self.num_classes:
            classes = torch.full((count,), UNTOLD)
        if numbers is None and self.spec.attributes:
            numbers = torch.full((count, len(self.spec.attributes)), torch.nan)
        if tokens is None and self.spec.text is not None:
            tokens = torch.full((count, self.spec.text.length), UNTOLD)
        return Condition(classes, numbers, tokens, weights)

    def known_of(self, images: ImageSet, where: slice | np.ndarray = slice(None)) -> Condition:
        """What is known of the images at these positions, as the network is told it."""
        return images.condition(self.spec, where, self.tokenizer)

    def in_turn(self, count: int, images: ImageSet | None = None) -> Condition:
        """Of `count` images: every class that may be asked for, in turn. Where the network knows attributes or text,
        what is known of `images`, in turn; without any, the mean of each attribute and the empty text."""
        if (self.spec.attributes or self.spec.text) and images is not None:
            return self.known_of(images, np.arange(count) % len(images))
        means = torch.zeros(count, len(self.spec.attributes)) if self.spec.attributes else None
        tokens = None if self.tokenizer is None else self.tokenizer.encode([""] * count)
        return Condition(torch.arange(count) % len(self.class_names) if self.class_names else None, means, tokens)

    def negative(self, words: str | None) -> Condition:
        """What guidance moves away from, of one image: a text, where the network reads texts, else the class of that
        name, else attributes; None: nothing told."""
        if words is None:
            return NOTHING_TOLD
        if self.tokenizer is not None:
            return Condition(tokens=self.tokenizer.encode([words]))
        if self.spec.attributes and "=" in words.removeprefix("=") and words not in self.class_names:
            return Condition(attributes=calling.attributes_of(calling.attributes_in(words), 1, self.spec.attributes))
        return Condition(labels=torch.tensor([self.class_index(words)]))

    def argument(self, condition: Condition, x: Data) -> Condition | Labels | None:
        """What the network is called with beside x (B, ...) and time."""
        return argument(self.network, self._complete(condition, x.shape[0]), self.num_classes, x)

    def _complete(self, condition: Condition, count: int) -> Condition:
        """With the states of its texts, where an encoder outside the network makes them."""
        if self.tokenizer is None or self.spec.text is None:
            return condition
        return self.tokenizer.complete(condition, count, self.device)

    def denoiser(self, condition: Condition, settings: SamplingSettings) -> Denoiser:
        """The network with its condition bound, guided and clipped as `settings` say; with a cache, for one chain only.

        A classifier guides by the labels, its own where the network knows none.
        """
        self._check(condition, settings)
        schedule = self.diffusion.schedule
        networks = Networks(
            bind=partial(self._bound, settings.cache),
            conditional=self.num_classes > 0,
            negative=self.negative(settings.negative).to(self.device),
            schedule=schedule,
            weaker=None if self.weaker is None else partial(self.weaker._bound, settings.cache),
            classify=self.classify,
        )
        denoise = guided(networks, condition.to(self.device), settings)
        return clipped(Finite(denoise, schedule, self._cause), schedule, settings.clip, self.codec.bound)

    def steps(
        self, seeds: Iterable[object], labels: Classes = None, settings: SamplingSettings | None = None
    ) -> Iterator[Step]:
        """The steps from noise to one image for each seed, all in one batch; a seed gives the same image in any batch.

        The last one's `x_s` holds the images as x0, which `decode` makes pixels of. `settings`, None: those of
        `config.sampling`.
        """
        return self.chain(seeds, labels, settings).steps()

    def chain(self, seeds: Iterable[object], labels: Classes = None, settings: SamplingSettings | None = None) -> Chain:
        """What `steps` runs."""
        settings, seeds = sampling_of(settings, self.config.sampling), seeds_of(None, None, 0, seeds)
        denoise, sampler = self.denoiser(self.condition(labels, len(seeds)), settings), self.sampler(settings)
        noise = ImageNoise(seeds, self.latent_shape, self.device)
        x_T = noise().contiguous(memory_format=torch.channels_last)
        return Chain(denoise, sampler, x_T, build_grid(settings, sampler, self.diffusion.schedule), noise)

    def generate(
        self,
        seeds: Iterable[object],
        labels: Classes = None,
        settings: SamplingSettings | None = None,
        chunk: int | None = None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Pixels:
        """Finished images, (B, C, H, W) uint8 on the CPU, `chunk` at a time, None: `compute.chunk`. See also `steps`.

        Several `processes` deal the chunks among them, and each gets all images. `on_progress` is called after each
        step with how many of this process's steps are done, and of how many.
        """
        work = collecting(self.generating(seeds, labels, settings, chunk=chunk))
        return collected(finish(work, lambda advance: on_progress(*advance))).images

    def generating(
        self,
        seeds: Iterable[object],
        labels: Classes,
        settings: SamplingSettings | None,
        keep: Keep = NOTHING,
        chunk: int | None = None,
        show: Keep = NOTHING,
        becomes: Callable[[Chain, slice], Chain] = lambda chain, part: chain,
    ) -> Iterator[GeneratingEvent]:
        """The same, each part as soon as it is there, with what is kept of the way, and the frames to `show` on it.
        Arguments as in `generate`; `becomes`: what is made of the chain of a part of the images."""
        settings, of = sampling_of(settings, self.config.sampling), seeds_of(None, None, 0, seeds)
        condition, parts = self.condition(labels, len(of)), self.chunks(len(of), chunk)

        def steps_of(part: slice) -> Iterator[Step]:
            return becomes(self.chain(of[part], condition.rows(part), settings), part).steps()

        return generating(steps_of, parts, settings.steps, keep, self.decode, self.processes, show)

    def decode(self, x0: Data, size: tuple[int, int] | None = None) -> Pixels:
        """The images (height, width) of some x0, or of states of that shape; `size` None: that of the pipeline's images
        where x0 has the shape of theirs, else all that the codec makes. One that makes latents of squares of pixels may
        have continued the images to whole ones, which is cut off here.
        """
        height, width = size or (self.spec.shape[1:] if x0.shape[1:] == self.latent_shape else (None, None))
        return self.codec.decode(x0)[..., :height, :width]

    def chunks(self, count: int, chunk: int | None = None) -> list[slice]:
        """`count` images in stretches of `chunk`; None: of `compute.chunk`."""
        size = self.compute.chunk if chunk is None else chunk
        return [slice(start, min(start + size, count)) for start in range(0, count, size)]

    def process(self, name: ReverseVariance | None) -> GaussianDiffusion:
        """The process with another variance of its reverse steps, if that has been measured; None: with its own."""
        if name is None:
            return self.diffusion
        chosen = self.analytic if name == "analytic" else VARIANCES[name]
        if chosen is None:
            raise InputError(
                "expected the analytic variance to have been measured for these weights; run `ancestral variance` first"
            )
        return replace(self.diffusion, variance=chosen)

    def sampler(self, settings: SamplingSettings) -> Sampler:
        """The sampler of `settings`, with the variance they name."""
        sampler = build_sampler(settings, self.process(settings.variance))
        if settings.cache > 1 and sampler.calls > 1:
            raise InputError(
                f"expected cache 1 with the sampler {settings.sampler}, got {settings.cache}: within a step it looks "
                "ahead and back, and what is kept belongs to steps in a row"
            )
        return sampler

    def timesteps(self, settings: SamplingSettings) -> Timesteps:
        """The falling timesteps of `settings`, (steps + 1,)."""
        return build_grid(settings, self.sampler(settings), self.diffusion.schedule)

    def plan(self, settings: SamplingSettings | None = None) -> Plan:
        """How its images are generated as a table of numbers, for runners without torch (docs/plans.md).

        The label of no class is the one after the last, as for a network of one's own; it stands for a negative text
        and for negative attributes too.
        """
        settings = sampling_of(settings, self.config.sampling)
        negative = self.negative(settings.negative).labels
        null = self.num_classes if negative is None else int(negative)
        sampler, timesteps = self.sampler(settings), self.timesteps(settings)
        return compile_plan(self.diffusion, sampler, timesteps, settings, self.codec.bound, null)

    def class_index(self, name: str) -> int:
        """The label of a class, by name or number, as `calling.class_index` finds it."""
        return calling.class_index(name, self.class_names)

    def weights_hash(self) -> str:
        """Names the weights that generated an image, by 16 hexadecimal digits."""
        return weights_hash(self.network)

    def save(self, folder: Path | str, bits: FloatBits = 32) -> None:
        """Writes the folder whole, as `write_folder` does. It says nothing of this machine. `bits`: of a weight."""
        contents = Contents(self.config, self.spec, self.codec, self.network, self.analytic, self.tokenizer)
        write_folder(folder, contents, bits)

    def _bound(self, cache: int, condition: Condition) -> Denoiser:
        """The network with its condition bound, in the precision that this machine is fast in."""
        network, engine, complete = self.network, self.compute.engine, once(partial(self._complete, condition))
        if network.training:
            network.eval()
        if engine != "torch" and isinstance(network, Backbone) and cache == 1:
            from ancestral.networks.engines import by_engine

            called = by_engine(network, engine, self.compute.engine_precision)
            return NetworkDenoiser(self.diffusion, lambda x, time: called(x, time, complete(x.shape[0])))
        self.by_torch("a cache of features" if cache > 1 else "a network of one's own")

        embedded = once(lambda count: self._embedded(network, complete(count), count))

        def call(x: Data, time: Tensor) -> Data:
            told = embedded(x.shape[0]) if isinstance(network, Backbone) else self.argument(condition, x)
            output: Tensor = network(x, time, told)
            return output

        if cache > 1:
            if not (isinstance(network, Backbone) and (with_deep := network.with_deep)):
                raise InputError(f"expected cache 1, got {cache}: this network has no deep features to keep")
            call = Cached(lambda x, time, deep: with_deep(x, time, deep, embedded(x.shape[0])), cache)

        def in_precision(x: Data, time: Tensor) -> Data:
            with self.compute.autocast(self.device):
                return call(x, time)

        return NetworkDenoiser(self.diffusion, in_precision)

    @torch.no_grad()
    def _embedded(self, network: nn.Module, condition: Condition, count: int) -> Embedded:
        assert isinstance(network, Backbone)
        return network.embedded(condition, count)

    def _cause(self, x_t: Data) -> str:
        """What has probably made a prediction at x_t that is not finite: said once it has, since looking takes time."""
        guides = {"weaker network's ": self.weaker, "classifier's ": self.classify}
        networks = {"": self.network, **{whose: guide.network for whose, guide in guides.items() if guide is not None}}
        for whose, network in networks.items():
            if (name := first_not_finite(network.state_dict())) is not None:
                return f"the {whose}weights are no numbers, {name} first; take others, of before training diverged"
        if not is_finite(x_t) or x_t.abs().max() > VAST:
            return "x_t had grown beyond all images: take more steps, less guidance, or clip static"
        if self.compute.precision == "bfloat16":
            return "a product in bfloat16 overflowed; set --compute.precision float32"
        return "a product overflowed float32; take less guidance or other weights"

    def _check(self, condition: Condition, settings: SamplingSettings) -> None:
        """Raises InputError unless condition and guidance are such as the networks were trained for."""
        classes, knows_no_class, (labels, attributes, tokens, *_) = self.num_classes, self.knows_null, condition
        if settings.guidance_by == "classifier":
            if self.classify is None:
                raise InputError(
                    "expected a classifier of noisy images to be guided by, got none; train one with "
                    "`ancestral train-classifier`"
                )
            if self.class_names != self.classify.class_names:
                raise InputError("expected a classifier of this pipeline's classes, got another; train one for it")
            if labels is None:
                raise InputError("expected a class to be guided to by the classifier, got none")
            classes, knows_no_class = len(self.class_names), False
        if labels is None and classes and not knows_no_class:
            raise InputError(
                "expected a class for every image, got none: this network knows no null class; name one with --classes"
            )
        if labels is not None and not classes:
            raise InputError("expected no labels: this pipeline was trained without classes")
        if labels is not None and not bool(((labels >= -int(knows_no_class)) & (labels < classes)).all()):
            null = f" ({classes}: no class)" if knows_no_class else ""
            raise InputError(f"expected labels in 0..{classes - 1}{null}")
        told = attributes is not None and not bool(attributes.isnan().all())
        if self.spec.attributes and not self.knows_null and not told:
            raise InputError(
                f"expected attributes of every image ({', '.join(self.spec.attribute_names)}), got none: trained with "
                "label_dropout 0, this network knows no image without; name them with --attributes"
            )
        if attributes is not None and attributes.shape[1] != (count := len(self.spec.attributes)):
            raise InputError(f"expected {count or 'no'} attributes of each image, got {attributes.shape[1]}")
        length = self.spec.text.length if self.spec.text else None
        if tokens is not None and tokens.shape[-1] != length:
            raise InputError(f"expected {length or 'no'} tokens of each text, got {tokens.shape[-1]}")
        if length and not self.knows_null and (tokens is None or not bool((tokens >= 0).any())):
            raise InputError(
                "expected a prompt for every image, got none: trained with label_dropout 0, this network knows no "
                "image without; give --prompt"
            )
        if settings.guidance_by == "autoguidance" and self.weaker is None:
            raise InputError("expected a weaker pipeline to be guided by, got none; name one with --weaker FOLDER")
        if settings.guidance_by == "classifier-free" and settings.guidance != 1:
            if not self.spec.kinds:
                raise InputError(f"expected guidance 1 without classes, got {settings.guidance}: nothing to guide by")
            if settings.negative is None and not self.knows_null:
                raise InputError(
                    f"expected guidance 1, got {settings.guidance:g}: this network knows no null class to guide by; it "
                    "was trained with label_dropout 0, or elsewhere (--null-class N says which class stands for none)"
                )
