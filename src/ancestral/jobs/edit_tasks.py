"""The tasks of `edit`: each a class of settings that says what it does, plans its results, and what is shown of them.

What computes is imported when a task is done, so that its help is quick.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from ancestral.errors import InputError
from ancestral.jobs.edit_settings import (
    GRAIN,
    IMAGES,
    RESULTS,
    EditSettings,
    ImageEdit,
    InvertingSettings,
    ManyResults,
    Planning,
)
from ancestral.jobs.settings import Typed
from ancestral.settings import MOST_TIMESTEPS, NumImages, Seed, Side

if TYPE_CHECKING:
    from ancestral.editing.inpaint import Mask
    from ancestral.editing.operators import Operator
    from ancestral.jobs.edit_plans import EditPlan, EditRequest, NamedImage, Picture, PngFacts
    from ancestral.tensors import Images

Offset = Annotated[int, Field(ge=0, le=2**14)]
"""Pixels, none among them."""
Stride = Annotated[
    Side | None, Typed("N", usual="half a window"), Field(description="pixels from one window to the next")
]
Four = tuple[Offset, Offset, Offset, Offset]
TILINGS = 2
"""Of a texture, in each direction of the picture that shows its seams."""
SHOWN_NOISE = 3.0
"""Deviations of noise that its picture shows from black to white."""


class Filling(ImageEdit):
    """A task that keeps some pixels and generates the others, by RePaint."""

    rounds: Annotated[int, Field(ge=1, le=10_000), Typed("N")] = 10
    """times every stretch is gone down; calls grow as it"""
    jump: Annotated[int, Field(ge=1, le=MOST_TIMESTEPS), Typed("STEPS")] = 1
    """steps of such a stretch"""

    def filled(
        self,
        request: "EditRequest",
        given: "list[Picture]",
        images: "Images",
        keep: "Mask",
        rows: "list[list[NamedImage]]",
        options: "PngFacts",
        stride: int | None = None,
    ) -> "EditPlan":
        """Images with what `keep` does not hold generated, of whatever size.

        Args:
            stride: of the windows, where they are larger than the pipeline's.
        """
        from ancestral import edits
        from ancestral.editing.inpaint import Rounds

        pipeline, rounds, size = request.pipeline, Rounds(self.rounds, self.jump), (images.shape[-2], images.shape[-1])
        plan = request.plan(
            given,
            lambda part: edits.inpaint(pipeline, images[part], keep, *request.words(part), rounds, stride),
            {**options, "rounds": str(self.rounds), "jump": str(self.jump)},
        )
        count = rounds.steps(pipeline.timesteps(request.settings))
        return replace(plan, rows=rows, count=count, size=size, work=request.windows(size, stride))


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
        """All files that are read."""
        return [*self.paths, *([self.mask] if self.mask else [])]

    def plan(self, request: "EditRequest") -> Planning:
        import torch

        given = yield from request.read()
        keep = self.keep(given, *request.pipeline.spec.shape[1:])
        white = (~keep)[None, None].to(torch.uint8) * 255  # as in a mask's file: generated anew
        rows = [[("image", picture.pixels), ("mask", white)] for picture in given]
        options = {"mask": str(self.mask)} if self.box is None else {"box": ",".join(map(str, self.box))}
        return self.filled(request, given, request.repeated(given), keep, rows, options)

    def keep(self, given: "list[Picture]", height: int, width: int) -> "Mask":
        """The pixels that are kept.

        Raises:
            InputError: mask and box, or neither, or one that keeps nothing.
        """
        from ancestral.editing.inpaint import outside_box
        from ancestral.jobs.edit_plans import read_mask

        if (self.mask is None) == (self.box is None):
            raise InputError(
                "expected --mask FILE or --box TOP,LEFT,BOTTOM,RIGHT, one of them; it says what to generate anew"
            )
        if self.box is None:
            return read_mask(Path(self.mask or ""), height, width, [picture.size for picture in given])
        keep = outside_box(height, width, *self.box)
        if not bool(keep.any()):
            box = ",".join(map(str, self.box))
            raise InputError(
                f"expected a box that keeps some of {height}x{width} pixels, got {box}; generate anew by `sample`"
            )
        return keep


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
        from ancestral.jobs.edit_plans import one_by_one, refuse_more
        from ancestral.tensors import to_pixels

        top, right, bottom, left = self.margins
        given = yield from request.read()
        if not any(self.margins):
            raise InputError("expected a margin of more than 0 pixels, got none; there is nothing to generate")
        _, height, width = request.pipeline.spec.shape
        size = height + top + bottom, width + left + right
        refuse_more(request.pipeline, len(given) * len(request.seeds), size)
        canvas, keep = extended(request.repeated(given), top, bottom, left, right)
        rows = [[("image", image)] for image in one_by_one(to_pixels(canvas[:: len(request.seeds)]))]
        options = {"margins": ",".join(map(str, self.margins))}
        return self.filled(request, given, canvas, keep, rows, options, self.stride)


class Vary(ImageEdit):
    """Variations of an image, or what the model makes of a sketch."""

    words: ClassVar[str] = "RUN IMAGE ..."
    examples: ClassVar[tuple[str, ...]] = (
        "ancestral edit vary runs/mnist seven.png --strength 0.6",
        "ancestral edit vary runs/mnist sketch.png --strength 0.8 --classes 4 --num-images 4",
    )

    num_images: Annotated[NumImages, Typed("N"), Field(description=RESULTS)] = 8
    strength: Annotated[float, Typed("0..1")] = 0.6
    """share of the image's contrast lost to noise"""

    def plan(self, request: "EditRequest") -> Planning:
        from ancestral import edits

        given = yield from request.read()
        images, pipeline = request.repeated(given), request.pipeline
        plan = request.plan(
            given,
            lambda part: edits.vary(pipeline, images[part], self.strength, *request.words(part)),
            {"strength": str(self.strength)},
        )
        return replace(plan, count=len(edits.grid_of_strength(pipeline, self.strength, request.settings)) - 1)


class Invert(InvertingSettings):
    """The noise an image comes from, and what it gives again.

    Prints the root mean square error of the round trip, of images in -1..1.
    """

    words: ClassVar[str] = "RUN IMAGE ..."
    examples: ClassVar[tuple[str, ...]] = ("ancestral edit invert runs/mnist seven.png --steps 100 --corrections 2",)

    def plan(self, request: "EditRequest") -> Planning:
        from ancestral.jobs.edit_plans import one_by_one
        from ancestral.tensors import mean_over_image, to_pixels

        given = yield from request.read()
        results = request.of_images(given, "again")
        self.files([result.name for result in results])  # before the work that this plan begins with
        images = request.repeated(given)
        x_T = yield from request.inverted(images, self.corrections, self.grain)
        noises = one_by_one(to_pixels(x_T / SHOWN_NOISE).cpu())
        rows = [[("image", each.pixels), ("its noise", noise)] for each, noise in zip(given, noises, strict=True)]

        def measure(again: "Images") -> dict[str, Any]:
            return {"round_trip_error": mean_over_image((again - images) ** 2).sqrt().tolist()}

        plan = request.plan(given, request.from_noise(x_T), {"corrections": str(self.corrections)})
        return replace(plan, results=results, rows=rows, measure=measure)


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

    def plan(self, request: "EditRequest") -> Planning:
        from ancestral import edits
        from ancestral.editing.interpolate import path
        from ancestral.jobs.edit_plans import refuse_more

        if (len(self.images), self.seeds is None) not in ((2, True), (0, False)):
            raise InputError(
                f"expected two images, or --seeds A,B and none, got {len(self.images)}; name what to go between"
            )
        refuse_more(request.pipeline, self.points)
        given, results = (yield from request.read()), request.of_points(self.points)
        self.files([result.name for result in results])
        if self.seeds is None:
            ends = yield from request.inverted(request.repeated(given), self.corrections, self.grain)
            options = {f"image {name} sha256": each.digest for name, each in zip("AB", given, strict=True)}
            options |= {"corrections": str(self.corrections), "grain": str(self.grain).removesuffix(".0")}
        else:
            ends = edits.noise_of(request.pipeline, self.seeds)
            options = {"seeds": ",".join(map(str, self.seeds))}
        shown = [(name, each.pixels) for name, each in zip("AB", given, strict=False)]
        between = path(ends[:1], ends[1:], self.points).flatten(0, 1)
        plan = request.plan([], request.from_noise(between), options)
        return replace(plan, results=results, rows=[shown[:1]], after=tuple(shown[1:]), is_path=True)


class Restoring(ImageEdit):
    """A task that restores what was measured, by posterior guidance."""

    how: Literal["projection", "gradient", "moments"] = "gradient"
    """what is taken for the posterior's covariance; each costs more than the one before"""
    noise: Annotated[float, Typed("SIGMA")] = 0.02
    """deviation of the noise in IMAGE, of -1..1"""
    data_variance: Annotated[float, Typed("L")] = 0.25
    """of a pixel of training images, of -1..1"""
    degrade: bool = False
    """IMAGE is a whole one: make the measurement from it, and keep both"""

    def restored(
        self,
        request: "EditRequest",
        name: str,
        operator: "Operator",
        channels: int,
        options: "PngFacts",
        factor: int = 1,
    ) -> Planning:
        """What `operator` made of images, that of files or of whole images degraded here, and what it may have been.

        Args:
            name: what stands beneath a measurement.
            channels, factor: of a measurement, and how much smaller it is than an image.
        """
        from ancestral import edits
        from ancestral.editing.posterior import PosteriorGuided
        from ancestral.jobs.edit_plans import floats, name_beginnings, one_by_one
        from ancestral.rng import ImageNoise
        from ancestral.tensors import to_pixels

        _, height, width = request.pipeline.spec.shape
        shape = () if self.degrade else (channels, height // factor, width // factor)
        given = yield from request.read(*shape)
        seen = floats(given)
        if self.degrade:
            whole, first = operator(seen), request.seeds[0]  # each with noise of its own
            seeds = range(first, first + len(seen))
            seen = whole + self.noise * ImageNoise(seeds, whole.shape[1:], stream="measurement")()
        y, measured = seen.repeat_interleave(len(request.seeds), 0), to_pixels(seen)
        squares = one_by_one(measured.repeat_interleave(factor, -1).repeat_interleave(factor, -2))
        rows, made = [[(name, square)] for square in squares], tuple["NamedImage", ...]()
        options = {**options, "how": self.how, "noise": str(self.noise), "data variance": str(self.data_variance)}
        if self.degrade:
            rows = [[("image", each.pixels), *row] for each, row in zip(given, rows, strict=True)]
            numbers = name_beginnings(given)
            made = tuple((number + name, one) for number, one in zip(numbers, one_by_one(measured), strict=True))
            options["degraded"] = "by ancestral"
        words = self.noise, self.how, self.data_variance
        plan = request.plan(
            given,
            lambda part: edits.restore(request.pipeline, operator, y[part], *request.words(part), *words),
            options,
        )
        pull_backs = {"projection": 0, "gradient": 1, "moments": 2 + PosteriorGuided.iterations}[self.how]
        return replace(plan, rows=rows, made=made, pull_backs=pull_backs)


class Colorize(Restoring):
    """Colour a grey image."""

    words: ClassVar[str] = "RUN IMAGE ..."
    examples: ClassVar[tuple[str, ...]] = (
        "ancestral edit colorize runs/cifar10 grey.png",
        "ancestral edit colorize runs/cifar10 bird.png --degrade",
    )

    def plan(self, request: "EditRequest") -> Planning:
        from ancestral.colors import NAMES
        from ancestral.editing.operators import Grey

        channels = request.pipeline.spec.channels
        if channels != 3:
            kind, lacks = NAMES[channels], "knows no colours" if channels < 3 else "draws more than colours"
            raise InputError(f"expected a pipeline of RGB images, got one of {kind}, which {lacks}")
        return self.restored(request, "grey", Grey(), 1, {})


class Enlarge(Restoring):
    """Super-resolution of a small image.

    IMAGE has the pipeline's size over the factor; with --degrade the pipeline's size.
    """

    words: ClassVar[str] = "RUN IMAGE ... [--factor N]"
    examples: ClassVar[tuple[str, ...]] = (
        "ancestral edit enlarge runs/mnist small.png --factor 4",
        "ancestral edit enlarge runs/mnist seven.png --factor 4 --degrade --how moments",
    )

    factor: Annotated[int, Field(ge=2, le=2**14), Typed("N")] = 2
    """IMAGE's pixels are the means of N x N of the result"""

    def plan(self, request: "EditRequest") -> Planning:
        from ancestral.editing.operators import MeanPooled

        channels, height, width = request.pipeline.spec.shape
        if height % self.factor or width % self.factor:
            raise InputError(f"expected a factor above 1 that divides {height} and {width}, got {self.factor}")
        options = {"factor": str(self.factor)}
        return self.restored(request, "small", MeanPooled(self.factor), channels, options, self.factor)


class Deblur(Restoring):
    """Sharpen an image of known blur.

    The blur is a Gaussian that goes around the edges, its deviation in pixels of the pipeline's size.
    """

    words: ClassVar[str] = "RUN IMAGE ... [--blur PIXELS]"
    examples: ClassVar[tuple[str, ...]] = ("ancestral edit deblur runs/mnist seven.png --blur 1.5 --degrade",)

    blur: Annotated[float, Typed("PIXELS", usual="1.0")] = 1.0
    """deviation of the Gaussian that blurred IMAGE"""

    def plan(self, request: "EditRequest") -> Planning:
        from ancestral.editing.operators import Blurred, gaussian_kernel

        channels, *sides = request.pipeline.spec.shape
        kernel = gaussian_kernel(self.blur)
        if len(kernel) > min(sides):
            raise InputError(f"expected a blur narrower than {min(sides) / 6:.3g} pixels here, got {self.blur}")
        return self.restored(request, "blurred", Blurred(kernel), channels, {"blur": str(self.blur)})


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
        options = {"size": f"{height}x{width}"} | ({} if self.stride is None else {"stride": str(self.stride)})
        plan = request.plan(
            [], lambda part: edits.canvas(request.pipeline, height, width, *request.words(part), self.stride), options
        )
        return replace(plan, size=self.size, work=request.windows(self.size, self.stride))


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
        from ancestral.jobs.edit_plans import numbers_of

        yield from ()
        pipeline, whole = request.pipeline, self.by != "windows"
        height, width = size = pipeline.spec.shape[1:] if self.size is None else self.size
        plan = request.plan(
            [],
            lambda part: edits.tile(pipeline, height, width, *request.words(part), self.by),
            {"size": f"{height}x{width}", "by": self.by},
        )
        return replace(
            plan,
            tilings=TILINGS,
            measure=lambda images: {"seam_ratio": float(seam(images.clamp(-1, 1)).ratio)},
            size=size,
            work=-(-numbers_of(pipeline, size) // numbers_of(pipeline))
            if whole
            else request.windows(size, None, wraps=True),
            whole=whole,
        )


KINDS: tuple[type[EditSettings], ...] = (
    Inpaint, Outpaint, Vary, Interpolate, Invert, Colorize, Enlarge, Deblur, Canvas, Tile,
)  # fmt: skip
TASKS = {kind.task(): kind for kind in KINDS}
