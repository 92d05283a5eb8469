"""Texts from captions to images: what is learnt from them, what a network is told, what is asked for and refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipelines import SMALL, answering
from ranks import in_processes
from torch import Tensor

from ancestral.condition import Condition
from ancestral.data.imageset import ImageSet, Parts
from ancestral.data.loader import Loader
from ancestral.errors import InputError
from ancestral.networks.text import TextEncoder
from ancestral.pipeline import Pipeline
from ancestral.processes import SINGLE_PROCESS, Processes
from ancestral.prompts import Prompts
from ancestral.report.samples import generate
from ancestral.settings import Config, LearnedText, SamplingSettings, TrainingSettings, merged
from ancestral.tokenizer import Tokenizer
from ancestral.training.denoiser import Denoising
from ancestral.training.loop import train
from ancestral.training.run import RunFolder
from ancestral.training.step import Trainer
from ancestral.training.vocabulary import in_words, tokenizer_of

QUICK = SamplingSettings(steps=3)
TEXT = LearnedText(vocab_size=560, length=12, width=16, layers=1, heads=2)
WORDS = [
    f"{size} {colour} {shape}" for size in ("small", "large") for colour in ("red", "blue") for shape in ("a", "b")
]


def made_up(count: int = 96, classes: tuple[str, ...] = (), words: list[str] = WORDS) -> ImageSet:
    """Images of 8 x 8 whose brightness is their caption's place in `words`; every tenth has no caption."""
    random = np.random.default_rng(0)
    which = random.integers(0, len(words), count)
    pixels = np.broadcast_to((30 * which + 10)[:, None, None, None], (count, 8, 8, 1)).astype(np.uint8)
    captions = tuple("" if i % 10 == 9 else words[k] for i, k in enumerate(which))
    labels = np.arange(count) % len(classes) if classes else None
    return ImageSet(pixels, labels, classes, captions, None, f"made up {count} {len(words)}")


def parts(**changes: Any) -> Parts:
    whole = made_up(**changes)
    return Parts(whole.sliced(0, 64), whole.sliced(64, 80), whole.sliced(80, 96))


def config(**training: Any) -> Config:
    settings = {"steps": 4, "batch_size": 8, "log_every_steps": 2, "validate_every_steps": 2, **training}
    return Config(
        network=SMALL,
        text=TEXT,
        training=TrainingSettings(**settings),
        sampling=QUICK,
        compute={"precision": "float32"},
    )


def fresh(classes: tuple[str, ...] = (), tokenizer: Tokenizer | None = None, **training: Any) -> Pipeline:
    images = parts(classes=classes).train
    tokenizer = tokenizer or Tokenizer.learn(images.captions, TEXT.vocab_size, TEXT.length)
    return Pipeline.fresh(config(**training), images.spec, "cpu", tokenizer=tokenizer)


def answers(classes: tuple[str, ...] = (), **training: Any) -> Pipeline:
    """A pipeline that reads texts, and answers something."""
    return answering(fresh(classes, **training))


X, T = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor(500)
ASKED = ["small red a", "large blue b", "large red a", ""]


def predicted(made: Pipeline, condition: Condition, **settings: Any) -> Tensor:
    with torch.inference_mode():
        return made.denoiser(condition, SamplingSettings(clip="none", **settings))(X, T).eps


# Laws


@pytest.mark.parametrize("classes", [(), ("a", "b")], ids=["alone", "with classes"])
def test_the_null_text_is_the_empty_one_and_guidance_goes_from_it(classes: tuple[str, ...]) -> None:
    """Trap 32: a null caption that is a vector of its own, or all tokens alike."""
    made = answers(classes)
    told = made.condition(["a", "b", "a", "b"] if classes else None, 4, prompt=ASKED)
    whole, null = predicted(made, told), predicted(made, Condition())
    empty = made.condition(None, 4, prompt="")
    torch.testing.assert_close(predicted(made, empty), null)
    one = torch.tensor([False, True, False, False])
    hidden = predicted(made, told.hidden(one))
    torch.testing.assert_close(hidden[1], null[1])
    torch.testing.assert_close(hidden[~one], whole[~one])
    assert not torch.isclose(whole, null).all(dim=(1, 2, 3))[:3].any()
    torch.testing.assert_close(predicted(made, told, guidance=3), null + 3 * (whole - null))


def test_guidance_moves_away_from_the_negative_prompt() -> None:
    """Of a model that reads texts a negative is a text, and counts (trap: a negative that is dropped on the way)."""
    made = answers()
    told, bad = made.condition(None, 4, prompt=ASKED), made.condition(None, 4, prompt="large blue")
    whole, away = predicted(made, told), predicted(made, bad)
    guided = predicted(made, told, guidance=2.5, negative="large blue")
    torch.testing.assert_close(guided, away + 2.5 * (whole - away))
    assert not torch.allclose(guided, predicted(made, told, guidance=2.5))


def test_a_text_is_read_once_a_chain_and_gives_what_reading_at_each_step_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap 36: keys and values of the text do not change while an image is generated."""
    made, rows, forward = answers(), list[int](), TextEncoder.forward
    condition = made.condition(None, 3, prompt=ASKED[:3])
    settings = SamplingSettings(steps=5, guidance=2, negative="small", clip="none")
    monkeypatch.setattr(TextEncoder, "forward", lambda self, tokens: rows.append(len(tokens)) or forward(self, tokens))
    *_, last = made.steps(range(3), condition, settings)
    assert rows == [6], "that of each image, and the negative one"
    denoise = made.denoiser(condition, settings)

    def anew(x: Tensor, t: Tensor) -> Any:
        return made.denoiser(condition, settings)(x, t)

    for step in made.steps(range(3), condition, settings):
        torch.testing.assert_close(
            denoise(step.x_t, torch.tensor(step.t)).eps, anew(step.x_t, torch.tensor(step.t)).eps
        )
    torch.testing.assert_close(last.x_s, step.x_s)
    with torch.inference_mode():
        by_network = made.network(X[:3], torch.full((3,), 499.0), condition)
        once = made.network(X[:3], torch.full((3,), 499.0), made.network.embedded(condition, 3))
    torch.testing.assert_close(once, by_network, atol=1e-6, rtol=1e-6)


def test_a_blend_is_the_mean_of_what_its_texts_are_read_as() -> None:
    made = answers()
    a, b = (made.condition(None, 4, prompt=text) for text in ("small red a", "large blue b"))
    one, other = (made.network.read(each, X).text.states for each in (a, b))
    mixed = made.condition(None, 4, prompt=["small red a", "large blue b"], blend=[0.7, 0.3])
    torch.testing.assert_close(made.network.read(mixed, X).text.states, 0.7 * one + 0.3 * other)
    alone = made.condition(None, 4, prompt=["small red a", "large blue b"], blend=[1, 0])
    torch.testing.assert_close(predicted(made, alone), predicted(made, a))
    torch.testing.assert_close(predicted(made, mixed.null()), predicted(made, Condition()))
    torch.testing.assert_close(
        predicted(made, mixed, guidance=2, negative="small"),
        2 * predicted(made, mixed) - predicted(made, made.condition(None, 4, prompt="small")),
    )
    way = made.condition(None, 5, prompt=["small red a", "large blue b", "small"], between=True)
    assert way.weights[:, 1].tolist() == [0, 0.5, 0, 0.5, 1]
    ends = [predicted(made, way.rows(torch.full((4,), i))) for i in (0, 2, 4)]
    for end, text in zip(ends, ("small red a", "large blue b", "small"), strict=True):
        torch.testing.assert_close(end, predicted(made, made.condition(None, 4, prompt=text)))


# What is told in training


def test_training_hides_class_and_text_of_the_same_images() -> None:
    """Trap 33: draws of their own would leave few of which nothing is told."""
    told = list[Condition]()
    made = fresh(("a", "b"), label_dropout=0.5, steps=20)
    trainer = Trainer(Denoising(made), parts(classes=("a", "b")).train)
    made.network.register_forward_pre_hook(lambda module, given: told.append(given[2]))
    for _ in range(20):
        trainer.advance()
    labels, tokens = torch.cat([each.labels for each in told]), torch.cat([each.tokens for each in told])
    loader = Loader(parts(classes=("a", "b")).train, 8, 0, tokenizer=made.tokenizer)
    captions = torch.cat([loader.batch(i).condition.tokens for i in range(20)])
    hidden = labels < 0
    assert any(0 < int((each.labels < 0).sum()) < 8 for each in told), "trap 32: whole batches are hidden"
    assert 0.35 < hidden.double().mean() < 0.65
    assert bool((tokens[hidden] < 0).all()) and torch.equal(tokens[~hidden], captions[~hidden])


def test_held_out_loss_and_grid_are_of_the_captions_of_real_images(tmp_path: Path) -> None:
    made = fresh(steps=2)
    asked = made.in_turn(12, parts().train)
    assert torch.equal(asked.tokens, made.known_of(parts().train, slice(0, 12)).tokens)
    prompts = made.condition(None, 12, prompt=[*parts().train.captions[:12]]).tokens
    assert torch.equal(prompts[:9], asked.tokens[:9]), "trap 35: a prompt is told as captions are, filled up alike"
    assert asked.tokens[9].tolist() == [-1] * 12 and made.in_turn(2).tokens.tolist()[0][0] == made.tokenizer.start
    others = replace(parts().validation, captions=("large blue b",) * 16)
    losses = []
    for name, held_out in (("own", parts().validation), ("others", others)):
        [*train(fresh(steps=4), parts()._replace(validation=held_out), tmp_path / name, lambda text: None)]
        lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["held_out_loss"] for line in lines])
    assert losses[0] != losses[1] and len(losses[0]) == 2
    assert len(generate(answering(made), parts().train).pixels) > 0


def test_a_network_learns_what_words_mean() -> None:
    """Trap: the caption of another image, which no loss tells from one's own at first. Trap 34: a null that is one
    caption more, and not the mean of all: nothing but what is hidden in training teaches it here."""
    words = ["dark", "bright"]
    images = made_up(200, words=words)
    bright_ones = images.images[:, 0, 0, 0] > 20
    images = replace(
        images,
        images=np.where(images.images > 20, 230, 20).astype(np.uint8),
        captions=tuple(words[int(bright)] for bright in bright_ones),
    )
    training = {"steps": 100, "batch_size": 16, "lr": 4e-3, "warmup_images": 16, "lr_schedule": "cosine"}
    settings = merged(config(**training, label_dropout=0.2), {"diffusion": {"prediction": "x0"}}, "here")
    tokenizer = Tokenizer.learn(images.captions, 540, 8)
    pipeline = Pipeline.fresh(settings, images.spec, "cpu", tokenizer=tokenizer)
    trainer = Trainer(Denoising(pipeline), images)
    for _ in range(100):
        trainer.advance()
    made = pipeline.with_network(trainer.ema.network)
    dark, bright = (made(8, prompt=word, output="tensor", steps=10).double().mean() for word in words)
    assert dark < 60 and bright > 110, (dark, bright)
    x_T = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))

    def x0(condition: Condition) -> float:
        with torch.inference_mode():
            return float(made.denoiser(condition, SamplingSettings(clip="none"))(x_T, torch.tensor(1000)).x0.mean())

    told, null = [x0(made.condition(None, 64, prompt=word)) for word in words], x0(Condition())
    mixed = x0(made.condition(None, 64, prompt=words, blend=[0.5, 0.5]))
    gap = told[1] - told[0]
    assert told[0] + 0.1 * gap < mixed < told[1] - 0.1 * gap, (told, mixed)
    assert abs(null - told[0] - bright_ones.mean() * gap) < 0.35 * gap, (told, null)
    chance = made.generate(range(64), Condition(), SamplingSettings(steps=5)).double().mean(dim=(1, 2, 3)) > 125
    assert abs(chance.double().mean() - bright_ones.mean()) < 0.3


# The tokenizer of a run


def test_the_tokenizer_is_learned_from_what_is_trained_on_and_kept(tmp_path: Path) -> None:
    run, images = RunFolder(tmp_path / "run"), parts().train
    learned = tokenizer_of(TEXT, images, run)
    assert learned.hash == Tokenizer.learn(images.captions, TEXT.vocab_size, TEXT.length).hash
    words = in_words(learned, images)
    assert f"{len(learned):,} tokens" in words and "0.0% have more than 12" in words and "6 images have none" in words
    [*train(fresh(tokenizer=learned), parts(), run, lambda text: None)]
    assert Tokenizer.load(run.tokenizer).hash == learned.hash == Pipeline.load(run.path, "cpu").tokenizer.hash
    other = replace(images, captions=("other words altogether",) * len(images))
    assert tokenizer_of(TEXT, other, run).hash == learned.hash, "trap: learned anew when the run goes on"
    with pytest.raises(InputError, match="tokenizer"):
        [*train(fresh(tokenizer=Tokenizer.learn(["x y"] * 9, 560, 12)), parts(), run, lambda text: None)]
    about = run.tokenizer / "tokenizer_config.json"
    before = about.read_text()
    for word, changed in (("true", "false"), ('"model_max_length": 12', '"model_max_length": 13')):
        about.write_text(before.replace(word, changed))
        with pytest.raises(InputError, match="expected one tokenizer in"):
            tokenizer_of(TEXT, images, run)
    for folder in (run.tokenizer, run.pipeline / "tokenizer"):
        folder.rename(folder.with_name("elsewhere"))
    run.tokenizer.touch()
    with pytest.raises(InputError, match="Not a directory"):
        tokenizer_of(TEXT, images, run)
    run.tokenizer.unlink()
    with pytest.raises(InputError, match="restore it"):
        tokenizer_of(TEXT, images, run)
    with pytest.raises(InputError, match="got none with the folder"):
        tokenizer_of(TEXT, replace(images, captions=None), RunFolder(tmp_path / "new"), "the folder")


def test_a_run_whose_text_is_not_pooled_goes_on_and_is_opened_again(tmp_path: Path) -> None:
    run, images = RunFolder(tmp_path / "run"), parts()
    tokenizer = tokenizer_of(TEXT, images.train, run)
    for steps in (2, 4):
        settings = merged(config(steps=steps), {"text": {"pooled": False}}, "test")
        made = Pipeline.fresh(settings, images.train.spec, "cpu", tokenizer=tokenizer)
        [*train(made, images, run, lambda text: None)]
    after = Pipeline.load(run.path, "cpu")
    assert "add_embedding" not in {name.partition(".")[0] for name in after.network.state_dict()}
    assert after.config.text == made.config.text and after.config.training.steps == 4
    asked: dict[str, Any] = {"prompt": ASKED, "guidance": 3.0, "output": "tensor", "steps": 3}
    assert torch.equal(after(4, **asked), Pipeline.load(run.path, "cpu")(4, **asked))


def trained(processes: Processes, folder: Path, stops: list[int]) -> list[list[Any]]:
    """The weights and the last batch's tokens of a run that is stopped after so many steps and goes on."""
    for count in [*stops, 99]:
        run = RunFolder(folder)
        made = fresh(tokenizer=tokenizer_of(TEXT, parts().train, run), checkpoint_every_steps=3, steps=6)
        steps = train(made, parts(), run, lambda text: None, processes=processes)
        for i, _ in enumerate(steps, 1):
            if i == count:
                steps.close()
    batch = Loader(parts().train, 8, 0, local_slice=processes.local_slice(8), tokenizer=made.tokenizer).batch(5)
    return [
        [float(each.double().sum()) for each in made.network.state_dict().values()],
        batch.condition.tokens.tolist(),
    ]


def test_an_interrupted_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = trained(SINGLE_PROCESS, tmp_path / "whole", [])
    assert trained(SINGLE_PROCESS, tmp_path / "halves", [2, 1]) == whole
    assert (tmp_path / "halves/log.jsonl").read_bytes() == (tmp_path / "whole/log.jsonl").read_bytes()


def test_two_processes_are_dealt_the_captions_of_one() -> None:
    told = [
        Loader(parts().train, 8, 0, local_slice=mine, tokenizer=fresh().tokenizer).batch(5).condition.tokens
        for mine in (slice(0, 8), slice(0, 4), slice(4, 8))
    ]
    assert torch.equal(told[0], torch.cat(told[1:])) and not torch.equal(told[1], told[2])


@pytest.mark.slow
def test_a_run_of_two_processes_sees_the_captions_of_one_also_interrupted(tmp_path: Path) -> None:
    whole = trained(SINGLE_PROCESS, tmp_path / "whole", [])
    together = in_processes(2, trained, tmp_path / "together", [])
    assert together[0][0] == together[1][0] and [*together[0][1], *together[1][1]] == whole[1]
    assert in_processes(2, trained, tmp_path / "in halves", [4]) == together
    assert torch.allclose(torch.tensor(whole[0]), torch.tensor(together[0][0]), rtol=1e-3, atol=1e-3)


# What is asked for


def test_a_call_takes_prompts_for_all_in_turn_mixed_and_between(tmp_path: Path) -> None:
    made = answers()
    made.save(tmp_path / "saved")
    for pipeline in (made, Pipeline.load(tmp_path / "saved", "cpu")):
        alone = pipeline(2, prompt="small red a", output="tensor")
        assert len(pipeline(prompt=ASKED[:3])) == 3 and len(pipeline(prompt="small red a")) == 1
        in_turn = pipeline(4, prompt=["small red a", "large blue b"], output="tensor")
        assert torch.equal(in_turn[0], alone[0]) and not torch.equal(in_turn[1], alone[1])
        way = pipeline(3, prompt=["small red a", "large blue b"], between=True, output="tensor")
        assert abs(way[0].int() - alone[0].int()).max() <= 1
        mixed = pipeline(1, prompt=["small red a", "large blue b"], blend=[7, 3], output="tensor")
        assert not torch.equal(mixed[0], alone[0])
        with pytest.warns(UserWarning, match="more than 12 tokens is cut"):  # trap 29: cut in silence
            pipeline(1, prompt="small " * 40)


def test_class_and_text_are_asked_for_together() -> None:
    made = answers(("a", "b"))
    both = made.condition(["b"], 4, prompt=ASKED)
    assert both.labels.tolist() == [1] * 4 and torch.equal(both.tokens, made.tokenizer.encode(ASKED))
    only = made.condition(["b"], 4)
    assert only.tokens.tolist() == [[-1] * 12] * 4 and made.condition(None, 2, prompt="x").labels.tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"prompt": 3}, "a prompt as a text"),
        ({"prompt": ["a", 3]}, "a prompt as a text"),
        ({"prompt": ["a", "b"], "num_images": 1}, "at most one prompt for each of 1 images"),
        ({"prompt": ["a", "b"], "blend": [1]}, "a share in blend for each of 2 prompts, got 1"),
        ({"prompt": ["a", "b"], "blend": [-1, 2]}, "shares of 0 or more"),
        ({"prompt": ["a", "b"], "blend": [0, 0]}, "shares of 0 or more"),
        ({"prompt": ["a", "b"], "blend": [1, float("nan")]}, "shares of 0 or more"),
        ({"prompt": ["a", "b"], "blend": [1, 1], "between": True}, "blend or between, got both"),
        ({"prompt": "a", "between": True}, "two prompts or more"),
        ({"prompt": "caf\udce9"}, "of Unicode letters"),
        ({"prompt": "a", "negative": "\ud83d", "guidance": 2}, "of Unicode letters"),
        ({"blend": [1]}, "a share in blend for each of 0 prompts"),
        ({"guidance": 2}, "or a prompt with guidance 2"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        answers()(**given)


def test_a_network_without_text_refuses_prompts_and_one_that_knows_no_null_wants_them(tmp_path: Path) -> None:
    plain = Pipeline.fresh(Config(network=SMALL), parts(classes=("a", "b")).train.spec, "cpu")
    with pytest.raises(InputError, match="this network reads no text"):
        plain(prompt="a red square")
    always = answers(label_dropout=0)
    with pytest.raises(InputError, match="a prompt for every image"):
        always(1)
    assert len(always(1, prompt="small")) == 1
    always.save(tmp_path / "p")
    shutil.rmtree(tmp_path / "p/tokenizer")
    with pytest.raises(InputError, match="expected a tokenizer beside a network that reads texts"):
        Pipeline.load(tmp_path / "p", "cpu")(1, prompt="small")


# What a file says


@pytest.mark.parametrize(
    "prompts",
    [
        Prompts(),
        Prompts(("a red, blue\nsquare",)),
        Prompts(('"quoted"', "[1]", "")),
        Prompts(("a", "b"), (0.1, 0.9)).checked(),
        Prompts(("a", "b", "a"), None, between=True),
    ],
)
def test_what_was_asked_comes_back_from_what_a_file_says(prompts: Prompts) -> None:
    assert Prompts.read(prompts.facts(), "a file") == prompts
    for mixture in prompts.of_each(7):
        (again,) = Prompts.read(Prompts.of(mixture).facts(), "a file").of_each(1)
        assert again == mixture


@pytest.mark.parametrize("said", [{"prompts": "[1]"}, {"prompts": "{"}, {"prompts": '["a"]', "blend": "x"}])
def test_what_was_changed_is_said(said: dict[str, str]) -> None:
    with pytest.raises(InputError, match="it was changed"):
        Prompts.read(said, "a file")
