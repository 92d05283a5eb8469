"""The tasks of `ancestral edit`: what each says of itself, and the options of its own."""

from collections.abc import Callable
from dataclasses import dataclass

from ancestral.cli.options import Options


@dataclass(frozen=True)
class Task:
    """A task: its words, what it does (the first line stands in the list of tasks), and options of its own.

    `images` is how many may be given: none, one or more, or up to two; `count` how many results each has.
    """

    words: str
    about: str
    examples: tuple[str, ...]
    add: Callable[[Options], None]
    images: str | None = "+"
    count: int = 4


def _new(options: Options) -> None:
    options.option(
        "--mask", metavar="FILE", help="an image: white is generated anew, black is kept, and so are greys <128"
    )
    options.option(
        "--box", metavar="TOP,LEFT,BOTTOM,RIGHT", help="or: rows and columns to generate anew, the last not in"
    )
    _rounds(options)


def _margins(options: Options) -> None:
    options.option("--margins", required=True, metavar="TOP,RIGHT,BOTTOM,LEFT", help="pixels to add on each side")
    _rounds(options)
    _stride(options)


def _rounds(options: Options) -> None:
    options.option(
        "--rounds", default="10", metavar="N", help="times every stretch is gone down; calls grow as it [10]"
    )
    options.option("--jump", default="1", metavar="STEPS", help="steps of such a stretch [1]")


def _stride(options: Options) -> None:
    options.option("--stride", metavar="N", help="pixels from one window to the next [half a window]")


def _strength(options: Options) -> None:
    options.option(
        "--strength", default="0.6", metavar="0..1", help="share of the image's contrast lost to noise [0.6]"
    )


def _inversion(options: Options, grain: str) -> None:
    options.option("--corrections", default="1", metavar="N", help="more network calls a step up, for a truer way [1]")
    about = f"noise given to images before they are inverted: 0 returns them best, 0.1 makes noise of them [{grain}]"
    options.option("--grain", default=grain, metavar="SIGMA", help=about)


def _images_again(options: Options) -> None:
    _inversion(options, grain="0")


def _points(options: Options) -> None:
    options.option("--seeds", metavar="A,B", help="between two noises, in place of images")
    options.option("--points", default="9", metavar="N", help="how many, both ends among them [9]")
    _inversion(options, grain="0.1")


def _measured(options: Options) -> None:
    how = "what is taken for the posterior's covariance; each costs more than the one before [gradient]"
    options.option("--how", choices=("projection", "gradient", "moments"), default="gradient", help=how)
    options.option("--noise", default="0.02", metavar="SIGMA", help="deviation of the noise in IMAGE, of -1..1 [0.02]")
    options.option(
        "--data-variance", default="0.25", metavar="L", help="of a pixel of training images, of -1..1 [0.25]"
    )
    options.option(
        "--degrade", action="store_true", help="IMAGE is a whole one: make the measurement from it, and keep both"
    )


def _factor(options: Options) -> None:
    options.option("--factor", default="2", metavar="N", help="IMAGE's pixels are the means of N x N of the result [2]")
    _measured(options)


def _blur(options: Options) -> None:
    options.option("--blur", default="1.0", metavar="PIXELS", help="deviation of the Gaussian that blurred IMAGE [1.0]")
    _measured(options)


def _canvas(options: Options) -> None:
    options.option("--size", required=True, metavar="HEIGHTxWIDTH", help="of the canvas, not below the pipeline's")
    _stride(options)


def _tile(options: Options) -> None:
    options.option("--size", metavar="HEIGHTxWIDTH", help="of a tile [the pipeline's]")
    by = "rolls: the image is rolled around at each step; padding: convolutions see around the edges; windows [rolls]"
    options.option("--by", choices=("padding", "rolls", "windows"), default="rolls", help=by)


TASKS = {
    "inpaint": Task(
        "RUN IMAGE ... (--mask FILE | --box TOP,LEFT,BOTTOM,RIGHT)",
        "Generate a part of an image anew.\n\nIn a mask white is generated anew and black is kept, to the bit; what is "
        "transparent counts as white. It has the\nimage's size or the pipeline's. A box is counted in the pipeline's "
        "pixels.",
        (
            "ancestral edit inpaint runs/mnist seven.png --mask hole.png --num-images 8",
            "ancestral edit inpaint runs/mnist seven.png --box 14,0,28,28 --rounds 20 --classes 7",
        ),
        _new,
    ),
    "outpaint": Task(
        "RUN IMAGE ... --margins TOP,RIGHT,BOTTOM,LEFT",
        "Continue an image past its edges.\n\nThe image is kept to the bit; the canvas is seen through windows of the "
        "pipeline's size.",
        ("ancestral edit outpaint runs/textures wall.png --margins 0,32,0,32",),
        _margins,
    ),
    "vary": Task(
        "RUN IMAGE ...",
        "Variations of an image, or what the model makes of a sketch.",
        (
            "ancestral edit vary runs/mnist seven.png --strength 0.6",
            "ancestral edit vary runs/mnist sketch.png --strength 0.8 --classes 4 --num-images 4",
        ),
        _strength,
        count=8,
    ),
    "interpolate": Task(
        "RUN (IMAGE_A IMAGE_B | --seeds A,B)",
        "The way from one image to another, or between two noises.\n\nImages are inverted to their noises; the way "
        "between those keeps the norm of noise; each point is drawn by DDIM.",
        (
            "ancestral edit interpolate runs/mnist one.png seven.png --points 9",
            "ancestral edit interpolate runs/mnist --seeds 0,1",
        ),
        _points,
        images="*",
        count=1,
    ),
    "invert": Task(
        "RUN IMAGE ...",
        "The noise an image comes from, and what it gives again.\n\nPrints the root mean square error of the round "
        "trip, of images in -1..1.",
        ("ancestral edit invert runs/mnist seven.png --steps 100 --corrections 2",),
        _images_again,
        count=1,
    ),
    "colorize": Task(
        "RUN IMAGE ...",
        "Colour a grey image.",
        ("ancestral edit colorize runs/cifar10 grey.png", "ancestral edit colorize runs/cifar10 bird.png --degrade"),
        _measured,
    ),
    "enlarge": Task(
        "RUN IMAGE ... [--factor N]",
        "Super-resolution of a small image.\n\nIMAGE has the pipeline's size over the factor; with --degrade the "
        "pipeline's size.",
        (
            "ancestral edit enlarge runs/mnist small.png --factor 4",
            "ancestral edit enlarge runs/mnist seven.png --factor 4 --degrade --how moments",
        ),
        _factor,
    ),
    "deblur": Task(
        "RUN IMAGE ... [--blur PIXELS]",
        "Sharpen an image of known blur.\n\nThe blur is a Gaussian that goes around the edges, its deviation in pixels "
        "of the pipeline's size.",
        ("ancestral edit deblur runs/mnist seven.png --blur 1.5 --degrade",),
        _blur,
    ),
    "canvas": Task(
        "RUN --size HEIGHTxWIDTH",
        "Images larger than those of training, by windows.",
        ("ancestral edit canvas runs/textures --size 32x128 --stride 16",),
        _canvas,
        images=None,
        count=1,
    ),
    "tile": Task(
        "RUN [--size HEIGHTxWIDTH]",
        "Textures that tile.\n\nPrints the seam ratio: the mean square step across the edges over that within; 1 is no "
        "seam. tile.png shows each\nresult two by two.",
        (
            "ancestral edit tile runs/textures --num-images 8",
            "ancestral edit tile runs/textures --by windows --size 64x64",
        ),
        _tile,
        images=None,
    ),
}
