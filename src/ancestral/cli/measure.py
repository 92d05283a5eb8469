"""`ancestral report`, `evaluate`, `likelihood`, `variance` and `train-classifier` of a run: their words and tables."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ancestral.cli.job_options import asked
from ancestral.cli.output import console, rounded, table, tell
from ancestral.cli.view import show_result
from ancestral.jobs.data_settings import ReportSettings
from ancestral.jobs.events import ResultEvent
from ancestral.jobs.measurement_settings import (
    EvaluateSettings,
    LikelihoodJobSettings,
    PromptJobSettings,
    TrainClassifierSettings,
    VarianceSettings,
)
from ancestral.settings import SamplingSettings, sampling_with

if TYPE_CHECKING:
    from ancestral.evaluation.evaluate import Evaluation, Number
    from ancestral.evaluation.likelihood import Amount, Likelihood
    from ancestral.evaluation.text_evaluation import TextEvaluation

ABOUT_REPORT = "Write one self-contained HTML file about RUN: settings, data, curves, samples, film, numbers."
ABOUT_EVALUATE = """\
Generate images from RUN and measure them against images it was not trained on.

Distances mean little alone, so each stands beside its floors: what real images score against real images at the same
numbers, and what a Gaussian fitted to the data scores. The result is written to RUN/evaluation.json, for a mere
pipeline to ./evaluation.json, and the report shows it.

Bits per dimension of held-out images are measured by `ancestral likelihood`, which --likelihood stands for; whether
images are what prompts ask for by --text (`ancestral evaluate RUN --text --help`).
"""
EXAMPLES_EVALUATE = (
    "ancestral evaluate runs/digits --images 2000",
    "ancestral evaluate runs/digits --images 500 --guidance 2",
)
SHARES = ("precision", "recall", "density", "coverage")
FEW = " (too few images)"  # stands beside a number that tells nothing
ABOUT_TEXT = """\
Generate images by prompts, and measure how much of what these ask for is in them.

Guidance is chosen by prompts of their own. Of drawn shapes a reader tells which facts hold; of other images with
captions, encoders trained on real images find each image's caption among others. Beside them stand chance, real images,
the lift of captions and the nearest training images. The result is written to RUN/text.json, for a mere
pipeline to ./text.json, with its pictures, and the report shows it.
"""
EXAMPLES_TEXT = (
    "ancestral evaluate runs/shapes --text",
    "ancestral evaluate runs/birds --text --num-prompts 200 --guidances 1 2 4",
)
ABOUT_LIKELIHOOD = """\
Measure the bound on bits per dimension of held-out images, with every term and its error.

Nothing is generated. The result is written to RUN/likelihood.json, for a mere pipeline to ./likelihood.json, and the
report shows it. Stopped, it goes on when the same command is given again. Of a model of a kl autoencoder's latents it
has three terms, and the autoencoder alone stands beside it.
"""
EXAMPLES_LIKELIHOOD = (
    "ancestral likelihood runs/mnist --images all --timesteps 64",
    "ancestral likelihood runs/mnist --chain 100 --timesteps all --variance analytic",
)
ABOUT_VARIANCE = """\
Measure the best variance of RUN's reverse steps, from the errors its network makes on images it was not trained on.

It depends on the timestep alone, serves every number of steps, and is kept in RUN/pipeline: `--variance analytic` of
`ancestral sample` and `ancestral evaluate` takes it from there. It belongs to the weights it was measured with.
"""
EXAMPLES_VARIANCE = (
    "ancestral variance runs/mnist",
    "ancestral sample runs/mnist --sampler ancestral --variance analytic",
)
ABOUT_CLASSIFIER = """\
Train a classifier of noisy images on the data of RUN and under its noise, to guide its network to a class.

A run that was trained without classes gets them, where its data has any: `ancestral sample RUN --classifier FILE`
then takes --classes. What it tells of held-out images at several levels of noise is printed and kept in the file.
Ctrl-C saves and stops, and the same command goes on.
"""
EXAMPLES_CLASSIFIER = (
    "ancestral train-classifier runs/digits",
    "ancestral sample runs/digits --guidance_by classifier --guidance 3 --classes 3,7",
)


def report(argv: Sequence[str]) -> None:
    job, as_json = asked(argv, "report RUN", ABOUT_REPORT, ("ancestral report runs/digits",), ReportSettings)
    from ancestral.jobs.report import report

    show_result(report(job), as_json)


def variance(argv: Sequence[str]) -> None:
    job, as_json = asked(argv, "variance RUN", ABOUT_VARIANCE, EXAMPLES_VARIANCE, VarianceSettings)
    from ancestral.jobs.variance import estimate_variance

    show_result(estimate_variance(job), as_json, lambda result: tell(str(result.value)))


def train_classifier(argv: Sequence[str]) -> int:
    job, as_json = asked(argv, "train-classifier RUN", ABOUT_CLASSIFIER, EXAMPLES_CLASSIFIER, TrainClassifierSettings)
    from ancestral.cli.training import show_training
    from ancestral.jobs.train_classifier import train

    def finish(result: ResultEvent) -> None:
        if not as_json:
            show_accuracies(result.tree)
            tell(result.tree["file"])

    return show_training(partial(train, job), as_json, finish, lines=False)


def show_accuracies(told: dict[str, Any]) -> None:
    if told["chance"] is None:
        tell("no image is held out to measure the classifier on (data.test 0)")
        return
    rows = [(str(each["timestep"]), f"{each['log_snr']:.1f}", f"{each['share']:.3f}") for each in told["accuracies"]]
    images = f"{told['num_held_out']:,} held-out images; the commonest class makes up {told['chance']:.3f} of them"
    console(stderr=False).print(images, table(("t", "log-SNR", "accuracy"), rows))


def evaluate(argv: Sequence[str]) -> None:
    if "--likelihood" in argv:
        likelihood([word for word in argv if word != "--likelihood"])
        return
    if "--text" in argv:
        text([word for word in argv if word != "--text"])
        return
    job, as_json = asked(argv, "evaluate RUN", ABOUT_EVALUATE, EXAMPLES_EVALUATE, EvaluateSettings)
    sampling_with(SamplingSettings(), job.changes(), "command line")
    from ancestral.jobs.evaluate import evaluate

    show_result(evaluate(job), as_json, lambda result: show_evaluation(result.value))


def text(argv: Sequence[str]) -> None:
    job, as_json = asked(argv, "evaluate RUN --text", ABOUT_TEXT, EXAMPLES_TEXT, PromptJobSettings)
    sampling_with(SamplingSettings(), job.changes(), "command line")
    from ancestral.jobs.evaluate_text import evaluate_text

    show_result(evaluate_text(job), as_json, lambda result: show_text(result.value))


def show_text(result: "TextEvaluation") -> None:
    """The shares as a table, the rest in sentences."""
    from ancestral.report.prompts import rows, sentences

    console(stderr=False).print(table(*rows(result)))
    tell(*sentences(result))


def show_evaluation(result: "Evaluation") -> None:
    """The comparisons as tables, generated images first, then the floors; the rest in sentences."""
    distances, shares = [], []
    for comparison in result.comparisons:
        name = f"{comparison.name}{FEW if comparison.too_few else ''}"
        distances.append([name, _measured(comparison["frechet"]), _measured(comparison["kernel"])])
        shares.append([name, *(f"{comparison[each].value:.3f}" for each in SHARES)])
    first = result.comparisons[0]
    console(stderr=False).print(
        f"{first.num_left:,} images against {first.num_right:,}; generated ones first, then the floors",
        table(("distance (less is better)", "Fréchet", "kernel"), distances),
        table(("neighbours (more is better)", *SHARES), shares),
    )
    if first.too_few:
        tell(f"these numbers say nothing for or against the images: {first.too_few}")
    for nearness in result.nearness:
        ratio = "cannot be told" if nearness.ratio is None else f"{nearness.ratio:.2f}"
        meaning = FEW if nearness.too_few else " (1: no copies)"
        tell(f"distance to the nearest training image, generated over held out, in {nearness.space}: {ratio}{meaning}")
    if result.agreement is not None:
        tell(f"generated images in which a classifier sees the class asked for: {_measured(result.agreement)}")
    features = result.features
    if features.accuracy is not None:
        tell(f"features of {features.num_fitted or 0:,} training images that are not among those compared")
        tell(f"accuracy of that network on {features.num_held_out} held-out images: {features.accuracy:.3f}")


def likelihood(argv: Sequence[str]) -> None:
    job, as_json = asked(argv, "likelihood RUN", ABOUT_LIKELIHOOD, EXAMPLES_LIKELIHOOD, LikelihoodJobSettings)
    from ancestral.jobs.likelihood import likelihood

    show_result(likelihood(job), as_json, lambda result: show_likelihood(result.value))


def show_likelihood(result: "Likelihood") -> None:
    """What was measured, the terms as a table, and which noise they are paid at."""
    rows = [(name, _measured(amount)) for name, amount in terms_of(result).items()]
    console(stderr=False).print(heading(result), table(("bits per dimension", ""), rows))
    images, timesteps = result.error_from_images, result.error_from_timesteps
    tell(f"of its error {images:.2g} is the images', {timesteps:.2g} that of timesteps and noise; they add in squares")
    if result.too_few:
        tell(f"it says little: {result.too_few}")
    if result.diffusion.value > 0:
        tell(quarters(result))
    if (latents := result.latents) is not None:
        scales = ", ".join(f"{scale:.3g}" for scale in latents.decoder.scales)
        tell(f"saved over the autoencoder alone, paired over the images: {_measured(latents.gain)}")
        tell(f"p(x|z) has the scale {scales}, measured on {latents.decoder.num_images:,} training images")
    if (check := result.flow) is not None:
        flow, bound, difference = map(_measured, (check.flow, check.bound, check.difference))
        what = "images" if result.latents is None else "images' latents"
        images_and_steps = f"{check.num_images:,} {what} under the probability flow, {check.steps:,} steps"
        tell(f"{images_and_steps}: {flow}, the bound of the same {bound}, difference {difference}")


def terms_of(result: "Likelihood") -> dict[str, "Amount"]:
    """The total, its terms, and of latents the autoencoder alone."""
    bound = {
        f"L_T, t = {result.num_timesteps}": result.prior,
        "diffusion, t > 1": result.diffusion,
        "L_0": result.reconstruction,
    }
    if (latents := result.latents) is None:
        return {"total": result.total, **bound}
    return {
        "total": result.total,
        "-log p(x|z), the pixels": latents.pixels,
        "log q(z|x)": latents.posterior,
        "bound on -log p(z)": latents.prior,
        **{f"  {name}": amount for name, amount in bound.items()},
        "the autoencoder alone": latents.autoencoder,
        "  KL(q(z|x) || N(0, I))": latents.kl,
    }


def heading(result: "Likelihood") -> str:
    """Of which images, along which chain, and of which density."""
    chain = "all" if result.steps == result.num_timesteps else f"{result.steps:,}"
    drawn = "all of them" if result.timesteps == result.steps - 1 else f"{result.timesteps:,} of them"
    variance = result.variance.replace("_", " ")
    latents = "" if result.latents is None else f" in {result.latents.dims:,} latents"
    density = "p(x | class), each image's class given" if result.given_classes else "p(x), no class given"
    return (
        f"{result.num_images:,} {result.part} images of {result.dims:,} dimensions{latents}, {chain} steps of "
        f"T = {result.num_timesteps:,}, {drawn} and L_0 for each image; {variance} variance; {density}"
    )


def quarters(result: "Likelihood") -> str:
    """The shares of the diffusion term that four equal ranges of log-SNR pay, the noisiest first."""
    middles = [stretch.log_snr for stretch in result.stretches]
    low, width = min(middles), (max(middles) - min(middles)) / 4 or 1.0
    shares = [0.0] * 4
    for stretch in result.stretches:
        shares[min(int((stretch.log_snr - low) / width), 3)] += stretch.bits / result.diffusion.value
    told = ", ".join(f"{share:.0%}" for share in shares)
    return f"the diffusion term is paid at log-SNR {low:.1f} to {max(middles):.1f}, by quarters: {told}"


def _measured(number: "Number | Amount") -> str:
    return rounded(number.value, number.standard_error)
