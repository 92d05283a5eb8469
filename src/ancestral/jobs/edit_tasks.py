"""The tasks of `edit`: each a class of settings that says what it does, in its docstring, and plans its results.

Imports no torch: what computes is imported when a task is done, so that its help is quick.
"""

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from ancestral.errors import InputError
from ancestral.jobs.events import Event
from ancestral.jobs.settings import Changes, PictureSettings, Typed, folder_typed, seeds_from
from ancestral.outputs import FILM, GENERATED, Output, claim
from ancestral.settings import MOST_TIMESTEPS, NumImages, Seed, Side

if TYPE_CHECKING:
    from ancestral.editing.inpaint import Mask
    from ancestral.editing.operators import Operator
    from ancestral.jobs.edit_requests import EditRequest, NamedImage
    from ancestral.sampling.loop import Step
    from ancestral.tensors import Images, Pixels

FOLDERS = "RUN/edited; for a mere pipeline ./edited"
RESULTS = "how many results"
IMAGES = "PNG, JPEG, WebP, BMP, GIF or TIFF files"
GRAIN = "noise given to images before they are inverted: 0 returns them best, 0.1 makes noise of them"
Offset = Annotated[int, Field(ge=0, le=2**14)]  # pixels, none among them
Four = tuple[Offset, Offset, Offset, Offset]
Stride = Annotated[
    Side | None, Typed("N", usual="half a window"), Field(description="pixels from one window to the next")
]
Shape = tuple[int, int, int]  # C, H, W
PngFacts = dict[str, str]  # what a file says of itself


class Result(NamedTuple):
    """One image to be generated: the end of its file's name, what stands beneath it, and what its file says of it."""

    name: str
    label: str
    facts: PngFacts


@dataclass(frozen=True)
class EditPlan:
    """How the results of a task are generated, and what is shown of them."""

    steps: "Callable[[slice], Iterator[Step]]"  # a part of the results -> the steps of their chain
    options: PngFacts  # what its files say of the task
    count: int | None = None  # steps of a chain; None: as the settings of sampling say
    path: Callable[[], Iterable[tuple[int, int]]] | None = None  # (t, s) of the steps; None: down the settings' grid
    rows: "list[list[NamedImage]] | None" = None
    """What the comparison shows before the results of each image given, or of all; None: the images given."""
    decode: "Callable[[Images], Pixels] | None" = None  # None: as the pipeline does
    after: "tuple[NamedImage, ...]" = ()  # what it shows after them
    tilings: int = 1  # how often it shows each of them, in both directions
    measure: "Callable[[Images, Pixels], dict[str, Any]]" = lambda x0, pixels: {}
    """Of the x0 of the results and of their images: numbers, by name."""
    made: "tuple[NamedImage, ...]" = ()  # pictures made on the way, with the ends of their files' names
    is_path: bool = False  # results lie on a path, which a film goes along; else it shows how they came to be
    size: tuple[int, int] | None = None  # height and width of a result; None: the pipeline's
    work: int = 1  # of a step of one result, in network calls on an image of the pipeline's size
    pull_backs: int = 0  # backward passes of a call
    whole: bool = False  # whether the network sees all of a result at once, however large


Planning = Generator[Event, None, EditPlan]  # what is done before images are generated, and the plan of those


class EditSettings(PictureSettings):
    """What every task is asked."""

    words: ClassVar[str]  # what is typed before the options
    examples: ClassVar[tuple[str, ...]]

    seed: Annotated[Seed, Typed("INT")] = 0
    """seed of the first result; the next one's is 1 more"""
    classes: Annotated[str, Typed("LIST")] = "none"
    """names or numbers of classes, or all"""
    attributes: Annotated[str | None, Typed("LIST")] = None
    """numbers by name, age=0.3,smiling=1, of all results; what is left out is not told"""
    out: Annotated[Path | None, Typed("DIR", usual=FOLDERS, read=folder_typed)] = None
    """where files go"""

    @abstractmethod
    def plan(self, request: "EditRequest") -> Planning:
        """What is to be generated; refuses what does not fit the pipeline."""

    def each(self) -> list[Result]:
        """The results of one image, without the facts that all tasks tell."""
        return [Result(f"seed-{seed}", f"seed {seed}", {"seed": str(seed)}) for seed in self.result_seeds]

    def results(self, request: "EditRequest") -> list[Result]:
        """Those of the first image given, then those of the second, ..., with what was asked and image among their
        facts."""
        images = [{"image sha256": image.digest} for image in request.given] or [{}]
        return [
            Result(beginning + name, request.label_of(i, label), {**facts, **request.asked_of(i), **image})
            for beginning, image in zip(request.beginnings(), images, strict=True)
            for i, (name, label, facts) in enumerate(self.each())
        ]

    @classmethod
    def task(cls) -> str:
        return cls.__name__.lower()

    @property
    def result_seeds(self) -> range:
        """Of the results of each image."""
        return seeds_from(self.seed, 1)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Of the images given."""
        return ()

    @property
    def inputs(self) -> list[Path]:
        """All files that are read."""
        return [*self.paths]

    def given_shape(self, own: Shape) -> Shape:
        """That the images given are brought to; `own` is that of the pipeline's images."""
        return own

    def changes(self, below: Changes | None = None) -> Changes:
        """As of every job; guidance needs a class, attributes, a text or another network to guide."""
        changes = super().changes(below)
        guidance = str(changes.get("guidance", 1))
        untold = self.classes == "none" and self.attributes is None and not self.asked_in_words.texts
        if guidance not in ("0", "1", "1.0") and untold and changes.get("guidance_by") is None:
            raise InputError(f"expected --classes or --prompt with --guidance {guidance}: without, nothing guides")
        return changes

    def files(self, names: list[str]) -> list[Path]:
        """The file of the picture of all results, and those whose names end so; refuses to replace others' files."""
        task, folder = self.task(), self.folder("edited")
        files = [folder / f"{name}.png" for name in (task, *(f"{task}-{name}" for name in names))]
        films = [Output(self.film, FILM)] if self.film else []
        claim([*(Output(file, GENERATED) for file in files), *films], self.overwrite, self.inputs)
        return files


class ManyResults(EditSettings):
    """A task of several results, each from a noise of its own."""

    num_images: Annotated[NumImages, Typed("N"), Field(description=RESULTS)] = 4

    @property
    def result_seeds(self) -> range:
        return seeds_from(self.seed, self.num_images)


class OfImages(EditSettings):
    """A task that is given images."""

    words: ClassVar[str] = "RUN IMAGE ..."
    images: Annotated[tuple[Path, ...], Typed("IMAGE", nargs="+"), Field(description=IMAGES)]

    @property
    def paths(self) -> tuple[Path, ...]:
        return self.images


class ImageEdit(OfImages, ManyResults):
    """A task that changes images."""


class Filling(ImageEdit):
    """A task that keeps some pixels and generates the others, by RePaint."""

    rounds: Annotated[int, Field(ge=1, le=10_000), Typed("N")] = 10
    """times every stretch is gone down; calls grow as it"""
    jump: Annotated[int, Field(ge=1, le=MOST_TIMESTEPS), Typed("STEPS")] = 1
    """steps of such a stretch"""

    def filled(
        self,
        request: "EditRequest",
        images: "Pixels",
        keep: "Mask",
        rows: "list[list[NamedImage]]",
        options: PngFacts,
        stride: int | None = None,
    ) -> EditPlan:
        """Images, of whatever size, with what `keep` does not hold generated; `stride` is that of the windows."""
        from ancestral import edits
        from ancestral.editing.inpaint import Rounds

        pipeline, rounds, size = request.pipeline, Rounds(self.rounds, self.jump), (images.shape[-2], images.shape[-1])
        timesteps = pipeline.timesteps(request.settings)
        return EditPlan(
            lambda part: edits.inpaint(pipeline, images[part], keep, *request.words(part), rounds, stride),
            {**options, "rounds": str(self.rounds), "jump": str(self.jump)},
            rounds.steps(timesteps),
            lambda: (move for leg in rounds.legs(timesteps) for move in pairwise(leg.tolist())),
            rows,
            size=size,
            work=request.windows(size, stride),
        )


class Inpaint(Filling):
    """Generate a part of an image anew.

    In a mask white is generated anew and black is kept, to the bit; what is transparent counts as white. It has the
    image's size or the pipeline's. A box is counted in the pipeline's pixels.
    """

    words: ClassVar[str] = "RUN IMAGE ... (--mask FILE | --box TOP,LEFT,BOTTOM,RIGHT)"
    examples: ClassVar[tuple[str, ...]] = (
        "ancestral edit inpaint runs/mnist seven.png --mask hole.png --num-images 8",
        "ancestral edit inpaint runs/mnist seven.png --box 14,0,28,28 --rounds 20 --classes 7",
    )

    mask: Annotated[Path | None, Typed("FILE")] = None
    """an image: white is generated anew, black is kept, and so are greys <128"""
    box: Annotated[Four | None, Typed("TOP,LEFT,BOTTOM,RIGHT", such_as="8,16,24,32")] = None
    """or: rows and columns to generate anew, the last not in"""

    @property
    def inputs(self) -> list[Path]:
        return [*self.paths, *([self.mask] if self.mask else [])]

    def plan(self, request: "EditRequest") -> Planning:
        from ancestral.editing.inpaint import outside_box

        yield from ()
        if self.mask is not None and self.box is None:
            keep, options = request.mask(self.mask), {"mask": str(self.mask)}
        elif self.box is not None and self.mask is None:
            keep = outside_box(*request.pipeline.spec.shape[1:], *self.box)
            options = {"box": ",".join(map(str, self.box))}
        else:
            raise InputError("expected --mask FILE or --box TOP,LEFT,BOTTOM,RIGHT, one of them, got none or both")
        if bool(keep.all()) or not bool(keep.any()):
            kept = "everything" if bool(keep.all()) else "nothing"
            raise InputError(
                f"expected a mask or a box that keeps some pixels, got one that keeps {kept}; white, or what is in the "
                "box, is generated anew"
            )
        white = (~keep)[None, None].byte() * 255  # as in a mask's file: generated anew
        rows = [[*row, ("mask", white)] for row in request.rows()]
        return self.filled(request, request.repeated(), keep, rows, options)


class Outpaint(Filling):
    """Continue an image past its edges.

    The image is kept to the bit; the canvas is seen through windows of the pipeline's size.
    """

    words: ClassVar[str] = "RUN IMAGE ... --margins TOP,RIGHT,BOTTOM,LEFT"
    examples: ClassVar[tuple[str, ...]] = ("ancestral edit outpaint runs/textures wall.png --margins 0,32,0,32",)

    margins: Annotated[Four, Typed("TOP,RIGHT,BOTTOM,LEFT", such_as="8,16,24,32")]
    """pixels to add on each side"""
    stride: Stride = None

    def plan(self, request: "EditRequest") -> Planning:
        from ancestral.editing.inpaint import extended

        yield from ()
        if not any(self.margins):
            raise InputError("expected a margin of more than 0 pixels, got none; there is nothing to generate")
        top, right, bottom, left = self.margins
        _, height, width = request.pipeline.spec.shape
        request.refuse_more(len(self.images) * self.num_images, (height + top + bottom, width + left + right))
        canvas, keep = extended(request.repeated(), top, bottom, left, right)
        rows = [[("image", image[None])] for image in canvas[:: len(request.seeds)]]
        options = {"margins": ",".join(map(str, self.margins))}
        return self.filled(request, canvas, keep, rows, options, self.stride)


class Vary(ImageEdit):
    """Variations of an image, or what the model makes of a sketch."""

    examples: ClassVar[tuple[str, ...]] = (
        "ancestral edit vary runs/mnist seven.png --strength 0.6",
        "ancestral edit vary runs/mnist sketch.png --strength 0.8 --classes 4 --num-images 4",
    )

    num_images: Annotated[NumImages, Typed("N"), Field(description=RESULTS)] = 8
    strength: Annotated[float, Typed("0..1")] = 0.6
    """share of the image's contrast lost to noise"""

    def plan(self, request: "EditRequest") -> Planning:
        from ancestral import edits

        yield from ()
        images, pipeline = request.repeated(), request.pipeline
        grid = edits.grid_of_strength(pipeline, self.strength, request.settings)
        return EditPlan(
            lambda part: edits.vary(pipeline, images[part], self.strength, *request.words(part)),
            {"strength": str(self.strength)},
            len(grid) - 1,
            lambda: pairwise(grid.tolist()),
        )


class InvertingSettings(OfImages):
    """A task that goes from images to their noises and back: by one class, and without noise."""

    corrections: Annotated[int, Field(ge=0, le=10_000), Typed("N")] = 1
    """more network calls a step up, for a truer way"""
    grain: Annotated[float, Typed("SIGMA"), Field(description=GRAIN)] = 0.0

    def changes(self, below: Changes | None = None) -> Changes:
        """As of every task, by a sampler that adds no noise unless another was asked for."""
        if self.classes == "all" or "," in self.classes:
            raise InputError(f"expected one class for {self.task()}, got {self.classes!r}; both ways go by the same")
        if len({*self.asked_in_words.of_each(max(1, len(self.asked_in_words.texts)))}) > 1:
            raise InputError(f"expected one prompt for {self.task()}, got several; both ways go by the same")
        return {"sampler": "ddim", **super().changes(below)}


class Invert(InvertingSettings):
    """The noise an image comes from, and what it gives again.

    Prints the root mean square error of the round trip, of images in -1..1, or of latents.
    """

    examples: ClassVar[tuple[str, ...]] = ("ancestral edit invert runs/mnist seven.png --steps 100 --corrections 2",)

    def each(self) -> list[Result]:
        return [Result("again", "again", {})]

    def plan(self, request: "EditRequest") -> Planning:
        from ancestral.tensors import mean_over_image

        x0 = request.pipeline.codec.encode(request.repeated())
        x_T = yield from request.inverted(self.corrections, self.grain)
        # of pixels three deviations each way from grey to black and white
        noises = request.pipeline.decode(x_T / 3).cpu()
        return EditPlan(
            request.from_noise(x_T),
            {"corrections": str(self.corrections)},
            rows=[[*row, ("its noise", noise[None])] for row, noise in zip(request.rows(), noises, strict=True)],
            measure=lambda again, _: {"round_trip_error": mean_over_image((again - x0) ** 2).sqrt().tolist()},
        )


class Interpolate(InvertingSettings):
    """The way from one image to another, or between two noises.

    Images are inverted to their noises; the way between those keeps the norm of noise; each point is generated by DDIM.
    """

    words: ClassVar[str] = "RUN (IMAGE_A IMAGE_B | --seeds A,B)"
    examples: ClassVar[tuple[str, ...]] = (
        "ancestral edit interpolate runs/mnist one.png seven.png --points 9",
        "ancestral edit interpolate runs/mnist --seeds 0,1",
    )

    images: Annotated[tuple[Path, ...], Typed("IMAGE", nargs="*"), Field(description=IMAGES)] = ()
    seeds: Annotated[tuple[Seed, Seed] | None, Typed("A,B", such_as="8,16")] = None
    """between two noises, in place of images"""
    points: Annotated[int, Field(ge=2, le=10_000), Typed("N")] = 9
    """how many, both ends among them"""
    grain: Annotated[float, Typed("SIGMA"), Field(description=GRAIN)] = 0.1

    def results(self, request: "EditRequest") -> list[Result]:
        """Places on the way from 0 to 1."""
        places = [f"{i / (self.points - 1):.3g}" for i in range(self.points)]
        asked = request.asked_of(0)
        return [Result(f"point-{i}", place, {"point": place, **asked}) for i, place in enumerate(places)]

    def plan(self, request: "EditRequest") -> Planning:
        from ancestral import edits
        from ancestral.editing.interpolate import path

        if (len(self.images), self.seeds is None) not in ((2, True), (0, False)):
            raise InputError(f"expected two images, or --seeds A,B and none, got {len(self.images)}; name both ends")
        request.refuse_more(self.points)
        if self.seeds is None:
            ends = yield from request.inverted(self.corrections, self.grain)
            options = {f"image {name} sha256": each.digest for name, each in zip("AB", request.given, strict=True)}
            options |= {"corrections": str(self.corrections), "grain": str(self.grain).removesuffix(".0")}
        else:
            ends = edits.noise_of(request.pipeline, self.seeds)
            options = {"seeds": ",".join(map(str, self.seeds))}
        shown = [(name, each.pixels) for name, each in zip("AB", request.given, strict=False)]
        steps = request.from_noise(path(ends[:1], ends[1:], self.points).flatten(0, 1))
        return EditPlan(steps, options, rows=[shown[:1]], after=tuple(shown[1:]), is_path=True)


class Restoring(ImageEdit):
    """A task that restores what was measured, by posterior guidance."""

    measurement: ClassVar[str]  # what stands beneath a measurement

    how: Literal["projection", "gradient", "moments"] = "gradient"
    """what is taken for the posterior's covariance; each costs more than the one before"""
    noise: Annotated[float, Typed("SIGMA")] = 0.02
    """deviation of the noise in IMAGE, of -1..1"""
    data_variance: Annotated[float, Typed("L")] = 0.25
    """of a pixel of training images, of -1..1"""
    degrade: bool = False
    """IMAGE is a whole one: make the measurement from it, and keep both"""

    @abstractmethod
    def measuring(self, channels: int, height: int, width: int) -> "tuple[Operator, PngFacts]":
        """What measured an image of this shape, and what files say of it; refuses what cannot measure such an image."""

    def given_shape(self, own: Shape) -> Shape:
        """That of a measurement; that of the pipeline's images where they are degraded here."""
        import torch

        channels, height, width = self.measuring(*own)[0](torch.zeros(1, *own)).shape[1:]
        return own if self.degrade else (channels, height, width)

    def plan(self, request: "EditRequest") -> Planning:
        from ancestral import edits
        from ancestral.editing.posterior import PosteriorGuided
        from ancestral.rng import ImageNoise
        from ancestral.tensors import from_pixels, to_pixels

        yield from ()
        operator, options = self.measuring(*request.pipeline.spec.shape)
        options = {**options, "how": self.how, "noise": str(self.noise), "data variance": str(self.data_variance)}
        seen = from_pixels(request.images())  # what was measured is pixels, and `edits.restore` refuses other codecs
        if self.degrade:
            whole, seeds = operator(seen), range(self.seed, self.seed + len(seen))  # each with noise of its own
            seen = whole + self.noise * ImageNoise(seeds, whole.shape[1:], stream="measurement")()
            options["degraded"] = "by ancestral"
        y, measured = seen.repeat_interleave(len(request.seeds), 0), to_pixels(seen)
        factor = request.pipeline.spec.shape[1] // measured.shape[2]
        squares = measured.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
        before = request.rows() if self.degrade else [[] for _ in squares]
        names = [beginning + self.measurement for beginning in request.beginnings()]
        return EditPlan(
            lambda part: edits.restore(
                request.pipeline, operator, y[part], *request.words(part), self.noise, self.how, self.data_variance
            ),
            options,
            rows=[[*row, (self.measurement, square[None])] for row, square in zip(before, squares, strict=True)],
            made=tuple((name, one[None]) for name, one in zip(names, measured, strict=True)) if self.degrade else (),
            pull_backs={"projection": 0, "gradient": 1, "moments": 2 + PosteriorGuided.iterations}[self.how],
        )


class Colorize(Restoring):
    """Colour a grey image."""

    examples: ClassVar[tuple[str, ...]] = (
        "ancestral edit colorize runs/cifar10 grey.png",
        "ancestral edit colorize runs/cifar10 bird.png --degrade",
    )
    measurement: ClassVar[str] = "grey"

    def measuring(self, channels: int, height: int, width: int) -> "tuple[Operator, PngFacts]":
        from ancestral.colors import NAMES
        from ancestral.editing.operators import Grey

        if channels != 3:
            kind, lacks = NAMES[channels], "knows no colours" if channels < 3 else "draws more than colours"
            raise InputError(f"expected a pipeline of RGB images, got one of {kind}, which {lacks}")
        return Grey(), {}


class Enlarge(Restoring):
    """Super-resolution of a small image.

    IMAGE has the pipeline's size over the factor; with --degrade the pipeline's size.
    """

    words: ClassVar[str] = "RUN IMAGE ... [--factor N]"
    examples: ClassVar[tuple[str, ...]] = (
        "ancestral edit enlarge runs/mnist small.png --factor 4",
        "ancestral edit enlarge runs/mnist seven.png --factor 4 --degrade --how moments",
    )
    measurement: ClassVar[str] = "small"

    factor: Annotated[int, Field(ge=2, le=2**14), Typed("N")] = 2
    """IMAGE's pixels are the means of N x N of the result"""

    def measuring(self, channels: int, height: int, width: int) -> "tuple[Operator, PngFacts]":
        from ancestral.editing.operators import MeanPooled

        if height % self.factor or width % self.factor:
            raise InputError(f"expected a factor above 1 that divides {height} and {width}, got {self.factor}")
        return MeanPooled(self.factor), {"factor": str(self.factor)}


class Deblur(Restoring):
    """Sharpen an image of known blur.

    The blur is a Gaussian that goes around the edges, its deviation in pixels of the pipeline's size.
    """

    words: ClassVar[str] = "RUN IMAGE ... [--blur PIXELS]"
    examples: ClassVar[tuple[str, ...]] = ("ancestral edit deblur runs/mnist seven.png --blur 1.5 --degrade",)
    measurement: ClassVar[str] = "blurred"

    blur: Annotated[float, Typed("PIXELS", usual="1.0")] = 1.0
    """deviation of the Gaussian that blurred IMAGE"""

    def measuring(self, channels: int, height: int, width: int) -> "tuple[Operator, PngFacts]":
        from ancestral.editing.operators import Blurred, gaussian_kernel

        kernel = gaussian_kernel(self.blur)
        if len(kernel) > min(height, width):
            raise InputError(f"expected a blur narrower than {min(height, width) / 6:.3g} pixels here, got {self.blur}")
        return Blurred(kernel), {"blur": str(self.blur)}


class Canvas(ManyResults):
    """Images larger than those of training, by windows."""

    words: ClassVar[str] = "RUN --size HEIGHTxWIDTH"
    examples: ClassVar[tuple[str, ...]] = ("ancestral edit canvas runs/textures --size 32x128 --stride 16",)

    num_images: Annotated[NumImages, Typed("N"), Field(description=RESULTS)] = 1
    size: Annotated[tuple[Side, Side], Typed("HEIGHTxWIDTH", such_as="32x128")]
    """of the canvas, not below the pipeline's"""
    stride: Stride = None

    def plan(self, request: "EditRequest") -> Planning:
        from ancestral import edits

        yield from ()
        height, width = self.size
        return EditPlan(
            lambda part: edits.canvas(request.pipeline, height, width, *request.words(part), self.stride),
            {"size": f"{height}x{width}"} | ({} if self.stride is None else {"stride": str(self.stride)}),
            size=self.size,
            work=request.windows(self.size, self.stride),
        )


class Tile(ManyResults):
    """Textures that tile.

    Prints the seam ratio: the mean square step across the edges over that within; 1 is no seam. tile.png shows each
    result two by two.
    """

    words: ClassVar[str] = "RUN [--size HEIGHTxWIDTH]"
    examples: ClassVar[tuple[str, ...]] = (
        "ancestral edit tile runs/textures --num-images 8",
        "ancestral edit tile runs/textures --by windows --size 64x64",
    )

    size: Annotated[tuple[Side, Side] | None, Typed("HEIGHTxWIDTH", usual="the pipeline's", such_as="32x128")] = None
    """of a tile"""
    by: Literal["padding", "rolls", "windows"] = "rolls"
    """rolls: the image is rolled around at each step; padding: convolutions see around the edges; windows"""

    def plan(self, request: "EditRequest") -> Planning:
        from ancestral import edits
        from ancestral.editing.tile import seam
        from ancestral.tensors import from_pixels

        yield from ()
        _, own_height, own_width = request.pipeline.spec.shape
        height, width = self.size or (own_height, own_width)
        whole = self.by != "windows"
        return EditPlan(
            lambda part: edits.tile(request.pipeline, height, width, *request.words(part), self.by),
            {"size": f"{height}x{width}", "by": self.by},
            tilings=2,  # in each direction: a picture that shows the seams
            decode=partial(edits.decoded_tiles, request.pipeline),
            measure=lambda _, pixels: {"seam_ratio": float(seam(from_pixels(pixels)).ratio)},
            size=(height, width),
            work=-(-height * width // (own_height * own_width))
            if whole
            else request.windows((height, width), None, wraps=True),
            whole=whole,
        )


KINDS: tuple[type[EditSettings], ...] = (
    Inpaint, Outpaint, Vary, Interpolate, Invert, Colorize, Enlarge, Deblur, Canvas, Tile,
)  # fmt: skip
TASKS = {kind.task(): kind for kind in KINDS}
