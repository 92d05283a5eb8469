"""Texts by an encoder that exists already: its states as transformers has them, read once, trained by nobody, kept with
the pipeline. All that is drawn of a text is drawn as with an encoder of one's own (test_texts.py)."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from encoders import KINDS, clip_folder, folder_of, states_there, t5_folder, transformers
from pipelines import SMALL, answering
from ranks import in_processes
from test_texts import QUICK, T, X, made_up, parts, predicted
from torch import Tensor

from ancestral.condition import UNTOLD, Condition
from ancestral.data.loader import Loader
from ancestral.errors import InputError
from ancestral.hub.frozen_text import FrozenReader
from ancestral.pipeline import Pipeline
from ancestral.processes import SINGLE_PROCESS, Processes
from ancestral.settings import (
    ComputeSettings,
    Config,
    DiTSettings,
    FrozenText,
    NetworkSettings,
    TrainingSettings,
    merged,
)
from ancestral.training.checkpoint import load_checkpoint, newest_checkpoint
from ancestral.training.denoiser import Denoising
from ancestral.training.loop import train
from ancestral.training.run import RunFolder
from ancestral.training.step import Trainer
from ancestral.training.vocabulary import tokenizer_of

LENGTH = 7
FLOAT32 = ComputeSettings(precision="float32")
ASKED = ["a red circle", "", "a large large blue blue circle and more than fits", "blue"]
ENCODERS = {"CLIPTextModel": clip_folder, "T5EncoderModel": t5_folder}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: folder_of(kind, tmp_path_factory.mktemp("encoders") / kind) for kind in KINDS}


@pytest.fixture
def clip(folders: dict[str, Path]) -> Path:
    return folders["CLIPTextModel"]


def config(
    folder: Path, masked: bool = False, network: NetworkSettings = SMALL, engine: str = "auto", **training: Any
) -> Config:
    settings = {"steps": 4, "batch_size": 8, "log_every_steps": 2, "validate_every_steps": 2, **training}
    return Config(
        network=network,
        text=FrozenText(folder=str(folder), length=LENGTH, masked=masked),
        training=TrainingSettings(**settings),
        sampling=QUICK,
        compute={"precision": "float32", "engine": engine},
    )


def answers(folder: Path, masked: bool = False, classes: tuple[str, ...] = (), **changes: Any) -> Pipeline:
    """A pipeline that reads texts by the encoder in a folder, and answers something."""
    return answering(Pipeline.fresh(config(folder, masked, **changes), parts(classes=classes).train.spec, "cpu"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.nn.Module, list[int]]]:
    """CLIP's encoders as they are called, and the rows of tokens that they are called with."""
    found: list[tuple[torch.nn.Module, list[int]]] = []
    forward = transformers.CLIPTextModel.forward

    def counted(self: Any, input_ids: Tensor, **given: Any) -> Any:
        found.extend((self, row) for row in input_ids.tolist())
        return forward(self, input_ids=input_ids, **given)

    monkeypatch.setattr(transformers.CLIPTextModel, "forward", counted)
    return found


# What a network is told


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_sees_the_states_that_transformers_computes(
    folders: dict[str, Path], kind: str, masked: bool
) -> None:
    """Traps: dropout, which both encoders have in training; the mask that padding is to be hidden by; another layer."""
    made, seen = answers(folders[kind], masked), list[Any]()
    made.network.add_embedding.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    *_, _ = made.steps(range(4), made.condition(None, 4, prompt=ASKED))
    (text,), wanted = seen, states_there(folders[kind], ASKED, LENGTH, masked)
    shown = torch.ones(4, LENGTH, dtype=torch.bool) if text.seen is None else text.seen
    assert (text.states - wanted)[shown].abs().max() < 1e-6 and wanted.std() > 0.1
    assert (text.seen is not None) == masked and bool(shown[1].all()) != masked
    assert made.network.embedded(made.tokenizer.complete(Condition(), 2, X.device), 2).text.states.shape == (2, 7, 16)


def test_the_empty_text_is_what_is_not_told_and_guidance_goes_from_it(clip: Path) -> None:
    """Trap 32, of class and text together; and a negative prompt, a blend, a way between two."""
    made = answers(clip, classes=("a", "b"))
    told = made.condition(["a", "b", "a", "b"], 4, prompt=ASKED)
    whole, null = predicted(made, told), predicted(made, Condition())
    torch.testing.assert_close(predicted(made, made.condition(None, 4, prompt="")), null)
    assert not torch.isclose(whole, null).all(dim=(1, 2, 3)).any()
    torch.testing.assert_close(predicted(made, told, guidance=3), null + 3 * (whole - null))
    away = predicted(made, made.condition(None, 4, prompt="blue"))
    torch.testing.assert_close(predicted(made, told, guidance=2, negative="blue"), away + 2 * (whole - away))
    pair = ["a red circle", "a small blue square"]
    one, other, mixed = (
        made.network.read(made.argument(made.condition(None, 4, prompt=pair, blend=shares), X), X).text.states
        for shares in ([1, 0], [0, 1], [0.7, 0.3])
    )
    torch.testing.assert_close(mixed, 0.7 * one + 0.3 * other)
    assert not torch.allclose(one, other)
    way = made(3, prompt=pair, between=True, output="tensor")
    assert torch.equal(way[0], made(1, prompt=pair[0], output="tensor")[0])


def test_what_is_hidden_in_training_is_the_empty_text(clip: Path) -> None:
    """Told by a loader, whose states lie beside the tokens already: class and text of the same images are hidden."""
    made = answers(clip, classes=("a", "b"))
    condition = Loader(parts(classes=("a", "b")).train, 4, 0, tokenizer=made.tokenizer).batch(0).condition
    assert condition.states.shape == (4, LENGTH, 16)
    with torch.inference_mode():
        null, whole = (made.network(X, T, made.argument(each, X)) for each in (Condition(), condition))
        hidden = made.network(X, T, made.argument(condition.hidden(torch.tensor([True, False, True, False])), X))
        torch.testing.assert_close(hidden, torch.stack([null[0], whole[1], null[2], whole[3]]))
    assert not torch.allclose(null, whole)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("network", [SMALL, DiTSettings(width=16, layers=2, heads=2)], ids=["unet", "dit"])
def test_padding_is_hidden_where_it_is_to_be(clip: Path, masked: bool, network: NetworkSettings) -> None:
    """Trap 35: from cross-attention and from the vector of the whole, or from neither."""
    made = answers(clip, masked, network=network)
    told, padding = made.argument(made.condition(None, 4, prompt=ASKED), X), made.tokenizer.encode(ASKED) < 0
    other = told._replace(states=told.states + padding[..., None] * torch.randn(4, LENGTH, 16))
    with torch.inference_mode():
        assert torch.equal(made.network(X, T, told), made.network(X, T, other)) == masked


@pytest.mark.parametrize(
    ("engine", "masked"), [("onnxruntime", True), pytest.param("openvino", False, marks=pytest.mark.slow)]
)
def test_other_engines_are_given_the_states_too(clip: Path, engine: str, masked: bool) -> None:
    plain, made = answers(clip, masked), answers(clip, masked, engine=engine)
    asked = {"prompt": ["a red circle", "blue"], "blend": [0.7, 0.3], "guidance": 2, "output": "tensor"}
    assert (plain(2, **asked).int() - made(2, **asked).int()).abs().max() <= 1


# It is read once, and trained by nobody


def test_each_caption_is_encoded_once_and_what_is_kept_is_what_was_made(
    clip: Path, calls: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In three epochs, by a second reader, as prompts, and beside others: by memory and by disk the same bits."""
    images, captions = made_up(24), {*made_up(24).captions}
    made = Pipeline.fresh(config(clip, steps=9), images.spec, "cpu")
    trainer = Trainer(Denoising(made), images)
    for _ in range(9):
        trainer.advance()
    assert len(calls) == len(captions) and len({tuple(row) for _, row in calls}) == len(calls) > 4
    other, texts = FrozenReader(clip, LENGTH), [*captions]
    found = other.states(other.encode(texts), X.device)
    assert len(calls) == len(captions), "kept on disk"
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "empty"))
    again = FrozenReader(clip, LENGTH)
    alone = [again.states(again.encode([text]), X.device) for text in texts]
    assert len(calls) == 2 * len(captions) and torch.equal(torch.cat(alone), found)


def test_a_cache_that_cannot_be_written_or_is_damaged_costs_time_alone(
    clip: Path, calls: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def states() -> Tensor:
        reader = FrozenReader(clip, LENGTH)
        return reader.states(reader.encode(["a red circle", ""]), X.device)

    first = states()
    for file in (each for each in (tmp_path / "cache/texts").rglob("*") if each.is_file()):
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert torch.equal(states(), first) and len(calls) == 4, "the text and the empty one, twice"
    monkeypatch.setenv("ANCESTRAL_CACHE", "/proc/nowhere")
    assert torch.equal(states(), first)


def test_the_encoder_is_no_part_of_what_is_trained_averaged_or_saved(
    clip: Path, tmp_path: Path, calls: list[Any]
) -> None:
    """Trap 38 the other way round."""
    made, run = Pipeline.fresh(config(clip, steps=6), parts().train.spec, "cpu"), RunFolder(tmp_path / "run")
    [*train(made, parts(), run, lambda text: None)]
    (encoder,) = {each for each, _ in calls}
    weights, own = {id(each) for each in encoder.parameters()}, {*made.network.state_dict()}
    assert not encoder.training and all(not each.requires_grad and each.grad is None for each in encoder.parameters())
    assert weights.isdisjoint(map(id, made.network.parameters()))
    there = transformers.CLIPTextModel.from_pretrained(clip / "text_encoder").state_dict()
    assert all(torch.equal(there[name], weight) for name, weight in encoder.state_dict().items())
    tensors, _ = load_checkpoint(newest_checkpoint(run.checkpoints, pytest.fail))
    assert {*tensors["model"]} == {*tensors["ema"]} == own and not [name for name in own if "text_encoder" in name]
    assert {name.rpartition(".")[0] for name in tensors["optimizer"]} <= own


def trained(processes: Processes, folder: Path, encoder: str, stops: list[int], cache: str) -> list[list[float]]:
    """The weights of a run that is stopped after so many steps and goes on, its cache and the encoder's folder gone in
    between, and the states of its last batch."""
    with pytest.MonkeyPatch.context() as patch:
        for start, count in enumerate([*stops, 99]):
            patch.setenv("ANCESTRAL_CACHE", f"{cache}/{start}")
            run, settings = RunFolder(folder), config(Path(encoder), checkpoint_every_steps=3, steps=6)
            tokenizer = tokenizer_of(settings.text, parts().train, run)
            made = Pipeline.fresh(settings, parts().train.spec, "cpu", tokenizer=tokenizer)
            steps = train(made, parts(), run, lambda text: None, processes=processes)
            for i, _ in enumerate(steps, 1):
                if i == count:
                    steps.close()
            if processes.is_main:
                shutil.rmtree(encoder, ignore_errors=True)
        batch = Loader(parts().train, 8, 0, local_slice=processes.local_slice(8), tokenizer=made.tokenizer).batch(5)
    weights = [float(each.double().sum()) for each in made.network.state_dict().values()]
    return [weights, batch.condition.states.double().sum((1, 2)).tolist()]


def test_a_run_goes_on_bit_for_bit_though_its_encoders_folder_and_cache_are_gone(clip: Path, tmp_path: Path) -> None:
    given = [str(shutil.copytree(clip, tmp_path / f"given-{i}")) for i in range(2)]
    whole = trained(SINGLE_PROCESS, tmp_path / "whole", given[0], [], f"{tmp_path}/a")
    assert trained(SINGLE_PROCESS, tmp_path / "halves", given[1], [2], f"{tmp_path}/b") == whole


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_though_its_encoders_folder_and_cache_are_gone(
    clip: Path, tmp_path: Path
) -> None:
    """The run has an encoder of its own, and both are told what one is."""
    given = [str(shutil.copytree(clip, tmp_path / f"given-{i}")) for i in range(2)]
    whole = trained(SINGLE_PROCESS, tmp_path / "whole", given[0], [], f"{tmp_path}/a")
    together = in_processes(2, trained, tmp_path / "together", given[1], [4], f"{tmp_path}/c")
    assert together[0][0] == together[1][0]
    assert [*together[0][1], *together[1][1]] == whole[1]
    assert torch.allclose(torch.tensor(whole[0]), torch.tensor(together[0][0]), rtol=1e-3, atol=1e-3)


# A pipeline's folder


@pytest.mark.parametrize(
    ("kind", "network", "masked", "name"),
    [
        ("CLIPTextModel", SMALL, False, "UNet2DConditionModel"),
        ("T5EncoderModel", SMALL, True, "AncestralUNet"),
        ("CLIPTextModelWithProjection", DiTSettings(width=16, layers=2, heads=2), False, "AncestralNetwork"),
    ],
)
def test_a_folder_that_was_moved_gives_the_same_images(
    tmp_path: Path, folders: dict[str, Path], kind: str, network: NetworkSettings, masked: bool, name: str
) -> None:
    """Whole in itself: what it was trained with, and where it was saved, are gone."""
    given = shutil.copytree(folders[kind], tmp_path / "given")
    made, asked = answers(given, masked, network=network), {"prompt": ASKED[:1], "guidance": 2, "output": "tensor"}
    made.save(tmp_path / "saved")
    before = made(2, **asked)
    shutil.rmtree(given)
    shutil.copytree(tmp_path / "saved", tmp_path / "moved")
    shutil.rmtree(tmp_path / "saved")
    after = Pipeline.load(tmp_path / "moved", "cpu", FLOAT32)
    assert torch.equal(after(2, **asked), before) and (after.spec, after.config.text) == (made.spec, made.config.text)
    assert after.tokenizer.hash == made.tokenizer.hash
    place = "transformer" if name == "AncestralNetwork" else "unet"
    index = json.loads((tmp_path / "moved/model_index.json").read_text())
    assert (index["text_encoder"], index[place][1]) == (["transformers", kind], name)
    after.save(tmp_path / "moved")
    assert torch.equal(Pipeline.load(tmp_path / "moved", "cpu", FLOAT32)(2, **asked), before), "over itself"


@pytest.mark.parametrize("pooled", [True, False])
def test_each_part_of_a_folder_is_opened_alone_and_answers_alike(clip: Path, tmp_path: Path, pooled: bool) -> None:
    diffusers = pytest.importorskip("diffusers")
    settings = merged(config(clip), {"text": {"pooled": pooled}}, "test")
    answering(Pipeline.fresh(settings, parts().train.spec, "cpu")).save(tmp_path / "p")
    made = Pipeline.load(tmp_path / "p", "cpu")
    assert ("add_embedding" in dict(made.network.named_children())) == pooled == made.config.text.pooled
    unet = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "p/unet").eval()
    with torch.no_grad():
        wanted = unet(X, T, encoder_hidden_states=states_there(tmp_path / "p", ASKED, LENGTH, False)).sample
        found = made.network.eval()(X, T, made.argument(made.condition(None, 4, prompt=ASKED), X))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_a_run_and_its_pipeline_share_the_encoders_file_and_a_pickle_beside_it_stays_where_it_is(
    clip: Path, tmp_path: Path
) -> None:
    """At every checkpoint: it may be of gigabytes. A folder of links, as a cache of downloads is, gives files."""
    given = tmp_path / "given"
    for file in (each for each in clip.rglob("*") if each.is_file()):
        (given / file.relative_to(clip)).parent.mkdir(parents=True, exist_ok=True)
        (given / file.relative_to(clip)).symlink_to(file)
    (given / "text_encoder/pytorch_model.bin").write_bytes(b"pickle")
    made, run = Pipeline.fresh(config(given), parts().train.spec, "cpu"), RunFolder(tmp_path / "run")
    [*train(made, parts(), run, lambda text: None)]
    files = [folder / "text_encoder/model.safetensors" for folder in (clip, run.path, run.pipeline)]
    assert len({file.stat().st_ino for file in files}) == 1 and not any(file.is_symlink() for file in files)
    assert not [*run.path.rglob("*.bin")]


@pytest.mark.parametrize(("kind", "apart"), [("CLIPModel", False), ("T5ForConditionalGeneration", False)])
def test_the_text_encoder_of_a_larger_model_is_found_in_one_folder(tmp_path: Path, kind: str, apart: bool) -> None:
    """As those are that most encoders come in."""
    if kind == "CLIPModel":
        clip_folder(tmp_path / "whole", apart=False)
        text = transformers.CLIPTextConfig.from_pretrained(tmp_path / "whole").to_dict()
        seen = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        both = transformers.CLIPConfig(text_config=text, vision_config={**seen, "image_size": 8, "patch_size": 4})
        transformers.CLIPModel(both).save_pretrained(tmp_path / "whole")
        model = transformers.CLIPModel.from_pretrained(tmp_path / "whole").text_model
    else:
        t5_folder(tmp_path / "whole", kind, apart=False)
        model = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "whole").get_encoder()
    reader = FrozenReader(tmp_path / "whole", LENGTH)
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "whole")
    rows = words(ASKED, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt").input_ids
    with torch.no_grad():
        wanted = model.eval()(input_ids=rows).last_hidden_state
    found = reader.states(reader.encode(ASKED), X.device)
    assert (found - wanted).abs().max() < 1e-6
    reader.write(tmp_path / "apart")
    assert FrozenReader(tmp_path / "apart", LENGTH).hash == reader.hash


# What is refused


def test_texts_of_all_kinds_are_read(folders: dict[str, Path]) -> None:
    for kind in KINDS:
        reader = FrozenReader(folders[kind], LENGTH)
        texts = ["", " ", "small " * 99, "\ud800", "\0", "🐕 e\u0301", "</s>", "<|endoftext|> x"]
        rows = reader.encode(texts)
        assert rows.shape == (8, LENGTH) and bool((rows[:, 0] >= 0).all()) and reader.encode([]).shape == (0, LENGTH)
        assert (
            reader.cut(texts) >= 1
            and reader.cut(["a red"]) == 0
            and reader.decode(reader.encode(["a red"])[0]) == "a red"
        )
        assert bool((rows[0, 3:] == UNTOLD).all()) and bool((rows[2] >= 0).all())


def fault(folder: Path, **changes: Any) -> str:
    """What is said of the encoder in a folder when a pipeline is made with it."""
    settings = FrozenText(**{"folder": str(folder), "length": LENGTH, **changes})
    with pytest.raises(InputError) as said:
        made = Pipeline.fresh(config(folder).model_copy(update={"text": settings}), parts().train.spec, "cpu")
        made.tokenizer.complete(Condition(), 1, X.device)
    assert "\n" not in str(said.value)
    return str(said.value)


def test_what_is_no_encoder_is_one_line(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nothing is downloaded" in fault(Path("somebody/clip-vit"))
    assert "got no config.json" in fault(tmp_path)
    assert "at most 20" in fault(clip, length=21)

    def changed(change: str) -> Path:
        shutil.rmtree(tmp_path / "p", ignore_errors=True)
        folder = Path(shutil.copytree(clip, tmp_path / "p"))
        weights, about = folder / "text_encoder/model.safetensors", folder / "text_encoder/config.json"
        if change == "pickle":
            weights.rename(weights.with_name("pytorch_model.bin"))
        elif change == "torn":
            weights.write_bytes(weights.read_bytes()[:-100])
        elif change == "words":
            shutil.rmtree(folder / "tokenizer")
        else:
            about.write_text(json.dumps({**json.loads(about.read_text()), **json.loads(change)}))
        return folder

    assert "got pytorch_model.bin; only safetensors are read" in fault(changed("pickle"))
    assert "what transformers opens" in fault(changed("torn"))
    assert "a tokenizer (tokenizer.json or vocab.json" in fault(changed("words"))
    assert "one of CLIPTextModel" in fault(changed('{"architectures": ["BertModel"]}'))
    assert "a whole CLIPTextModel" in fault(changed('{"num_hidden_layers": 3}'))
    assert "at most 99 tokens" in fault(changed('{"vocab_size": 99}'))
    assert "a width that 4 divides" in fault(changed('{"hidden_size": 18}'))
    code = '{"auto_map": {"AutoTokenizer": ["evil.Tokenizer", null]}, "tokenizer_class": "Evil"}'
    (tmp_path / "p/tokenizer/tokenizer_config.json").write_text(code)
    (tmp_path / "p/tokenizer/evil.py").write_text("raise SystemExit(99)\nclass Tokenizer: ...")
    (tmp_path / "p/text_encoder/config.json").write_bytes((clip / "text_encoder/config.json").read_bytes())
    assert "what transformers opens" in fault(tmp_path / "p"), "code of the folder is not run"
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "pip install 'ancestral[text]'" in fault(clip)


def test_another_encoder_than_the_networks_is_refused(clip: Path, tmp_path: Path) -> None:
    """By its hash, in a pipeline and in a run that goes on; and a network alone, which has none."""
    made, run = answers(clip), RunFolder(tmp_path / "run")
    [*train(made, parts(), run, lambda text: None)]
    clip_folder(tmp_path / "other", attention_dropout=0.1)
    for folder in (run.path, run.pipeline):
        shutil.rmtree(folder / "text_encoder")
        shutil.copytree(tmp_path / "other/text_encoder", folder / "text_encoder")
    with pytest.raises(InputError, match=r"expected CLIPTextModel of hash \w+.* got CLIPTextModel of hash \w+.*; copy"):
        Pipeline.load(run.path, "cpu")
    with pytest.raises(InputError, match="expected CLIPTextModel of hash"):
        tokenizer_of(made.config.text, parts().train, run)
    for folder in (run.path, run.pipeline):
        shutil.rmtree(folder / "text_encoder")
    with pytest.raises(InputError, match=r"got no config\.json"):
        Pipeline.load(run.path, "cpu")
    with pytest.raises(InputError, match="its reader, length 9, masked False, got length 7, masked False"):
        Pipeline.fresh(made.config, parts().train.spec, "cpu", tokenizer=FrozenReader(clip, 9))
    with pytest.raises(InputError, match="expected states"):
        made.network(X, T, Condition())
    with pytest.raises(InputError, match=r"got one that is frozen; set text\.name frozen"):
        Pipeline.fresh(Config(), parts().train.spec, "cpu", tokenizer=made.tokenizer)
