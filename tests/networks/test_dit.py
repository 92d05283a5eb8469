"""The transformer: published sizes, agreement with diffusers and with Meta's names, its laws and its promises."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from standing import Script, forked

from ancestral.condition import Condition
from ancestral.edits import tile
from ancestral.errors import InputError
from ancestral.hub import from_meta
from ancestral.hub.dit import DIT
from ancestral.networks.backbone import build
from ancestral.networks.conditions import Told
from ancestral.networks.dit import DiT, places
from ancestral.pipeline import Pipeline
from ancestral.settings import Config, DiTSettings, ImageSpec, SamplingSettings, merged
from ancestral.training.noisy_classifier import new_classifier
from ancestral.tuning.price import of_training

SMALL = DiTSettings(width=16, layers=2, heads=2)
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    torch.manual_seed(0)


def randomised(network: torch.nn.Module) -> Any:
    """Every parameter redrawn, so that no branch is silent."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.2 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
    return network.eval()


def pipeline(
    settings: DiTSettings = SMALL, size: tuple[int, int] = (8, 8), classes: int = 3, **diffusion: Any
) -> Pipeline:
    changes = {
        "diffusion": {"variance": "learned", **diffusion},
        "training": {"loss": "hybrid"},
        "sampling": {"steps": 3},
    }
    config = merged(Config(network=settings), changes, "the test")
    spec = ImageSpec(channels=2, height=size[0], width=size[1], class_names=tuple("abcdefg"[:classes]))
    made = Pipeline.fresh(config, spec, "cpu")
    randomised(made.network)
    return made


@pytest.mark.parametrize(
    ("width", "layers", "heads", "published"),
    [(384, 12, 6, 32_963_360), (768, 12, 12, 130_512_416), (1152, 28, 16, 675_129_632)],
    ids=["S/2", "B/2", "XL/2"],
)
def test_networks_of_the_paper_have_their_published_sizes(width: int, layers: int, heads: int, published: int) -> None:
    """Of 4 channels, a learned variance, 1000 classes and none. Meta's count has the table of 16x16 places, which is
    computed and no weight; ours has what is trained alone."""
    with torch.device("meta"):
        network = build(DiTSettings(width=width, layers=layers, heads=heads), 4, 8, Told(1000))
    assert sum(parameter.numel() for parameter in network.parameters()) == published - 16 * 16 * width


def theirs(**changes: Any) -> Any:
    """A network of diffusers whose blocks have equal copies of the embedders, as a trained one has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import DiTTransformer2DModel
    usual = {"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 2, "out_channels": 4, "num_layers": 2}
    network = randomised(DiTTransformer2DModel(**{**usual, "sample_size": 8, "num_embeds_ada_norm": 3, **changes}))
    for block in network.transformer_blocks[1:]:
        block.norm1.emb.load_state_dict(network.transformer_blocks[0].norm1.emb.state_dict())
    return network


def saved_by_diffusers(folder: Path, network: Any) -> None:
    from diffusers import DDPMScheduler

    network.save_pretrained(folder / "transformer")
    DDPMScheduler(variance_type="learned_range").save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text('{"_class_name": "AncestralPipeline"}')


X, TIMES, TOLD = torch.randn(3, 2, 8, 8), torch.tensor([0, 7, 999]), Condition(labels=torch.tensor([0, -1, 2]))
LABELS = torch.tensor([0, 3, 2])  # as diffusers has them: no class is the last


@pytest.mark.parametrize(
    "changes", [{}, {"patch_size": 4, "norm_eps": 1e-2}, {"num_layers": 1, "attention_head_dim": 4}]
)
@torch.no_grad()
def test_weights_of_diffusers_load_strictly_and_give_the_same_output(changes: dict[str, Any], tmp_path: Path) -> None:
    """Nothing but the file says that the last label stands for no class, so guidance is known."""
    network = theirs(**changes)
    saved_by_diffusers(tmp_path, network)
    ours = Pipeline.load(tmp_path, "cpu")
    assert ours.spec.class_names == ("0", "1", "2") and ours.knows_null
    expected = network(X, TIMES, LABELS).sample
    torch.testing.assert_close(ours.network(X, TIMES, TOLD), expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.1


@torch.no_grad()
def test_diffusers_loads_what_is_saved_and_gives_the_same_output(tmp_path: Path) -> None:
    made = pipeline()
    made.save(tmp_path / "saved")
    from diffusers import DiTTransformer2DModel

    network = DiTTransformer2DModel.from_pretrained(tmp_path / "saved", subfolder="transformer").eval()
    ours = made.network(X, TIMES, TOLD)
    torch.testing.assert_close(network(X, TIMES, LABELS).sample, ours, atol=1e-5, rtol=1e-5)
    assert torch.equal(Pipeline.load(tmp_path / "saved", "cpu").network(X, TIMES, TOLD), ours)


@pytest.mark.parametrize(
    ("changes", "size", "classes", "diffusion"),
    [
        ({}, (8, 12), 3, {}),
        ({}, (8, 8), 0, {}),
        ({"mlp_ratio": 2}, (8, 8), 3, {}),
        ({"time_frequency_shift": 0}, (8, 8), 3, {}),
        ({"patch": 4}, (4, 8), 3, {"time": "log-snr", "schedule": {"name": "log-snr"}}),
    ],
    ids=["rectangle", "no classes", "narrow perceptron", "Meta's frequencies", "log-SNR"],
)
def test_what_diffusers_cannot_be_goes_there_and_back_under_a_name_it_refuses(
    changes: dict[str, Any], size: tuple[int, int], classes: int, diffusion: dict[str, Any], tmp_path: Path
) -> None:
    made = pipeline(SMALL.model_copy(update=changes), size, classes, **diffusion)
    made.save(tmp_path / "saved")
    config = json.loads((tmp_path / "saved/transformer/config.json").read_text())
    assert config["_class_name"] == "AncestralNetwork"
    again = Pipeline.load(tmp_path / "saved", "cpu")
    assert again.config.network == made.config.network and again.weights_hash() == made.weights_hash()
    how = SamplingSettings(steps=2, clip="static")
    labels = ["a", None] if classes else None
    assert torch.equal(again.generate([0, 1], labels, how), made.generate([0, 1], labels, how))


def test_no_tensor_is_lost_for_want_of_a_name_in_diffusers() -> None:
    """Trap: a part added to the network that its file leaves out, found when it is loaded."""
    with pytest.raises(AssertionError, match="has no name for"):
        DIT.stored({**pipeline().network.state_dict(), "added.weight": torch.zeros(1)})


def test_a_copy_of_an_embedder_that_differs_is_refused_by_name(tmp_path: Path) -> None:
    pipeline().save(tmp_path / "saved")
    name = "transformer_blocks.1.norm1.emb.class_embedder.embedding_table.weight"
    tensors = load_file(tmp_path / "saved" / WEIGHTS)
    tensors[name][3, 0] += 1e-3
    save_file(tensors, tmp_path / "saved" / WEIGHTS)
    with pytest.raises(InputError, match=f"{name}.* equal that of the first block"):
        Pipeline.load(tmp_path / "saved", "cpu")


def of_meta(network: DiT, side: int) -> dict[str, torch.Tensor]:
    """Meta's state of the same network, written out by its names."""
    own = network.state_dict()
    state = {"pos_embed": places(side, side, network.settings.width, torch.device("cpu"))[None]}
    for theirs, ours in {
        "x_embedder.proj": "patches",
        "t_embedder.mlp.0": "time_embedding.linear_1",
        "t_embedder.mlp.2": "time_embedding.linear_2",
        "final_layer.linear": "pixels",
        "final_layer.adaLN_modulation.1": "modulation",
    }.items():
        state |= {f"{theirs}.{kind}": own[f"{ours}.{kind}"] for kind in ("weight", "bias")}
    state["y_embedder.embedding_table.weight"] = own["class_embedding.weight"]
    inside = {"attn.proj": "to_out", "mlp.fc1": "widen", "mlp.fc2": "narrow", "adaLN_modulation.1": "modulation"}
    for k, kind in ((k, kind) for k in range(network.settings.layers) for kind in ("weight", "bias")):
        for theirs, ours in inside.items():
            state[f"blocks.{k}.{theirs}.{kind}"] = own[f"transformer_blocks.{k}.{ours}.{kind}"]
        thirds = [own[f"transformer_blocks.{k}.to_{which}.{kind}"] for which in "qkv"]
        state[f"blocks.{k}.attn.qkv.{kind}"] = torch.cat(thirds)
    return state


def test_weights_of_meta_load_strictly_and_a_table_of_other_places_is_refused() -> None:
    network = randomised(DiT(SMALL, 4, 8, Told(5)))
    state = of_meta(network, 6)
    loaded = from_meta(state, 6)
    DiT(SMALL, 4, 8, Told(5)).load_state_dict(loaded, strict=True)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in network.state_dict().items())
    with pytest.raises(InputError, match="expected pos_embed of 5x5 patches"):
        from_meta(state, 5)


def test_an_image_that_the_patch_does_not_divide_is_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match=r"multiples of the patch, 4 pixels, got 8x10.*network\.patch"):
        DiT(DiTSettings(width=8, layers=1, heads=1, patch=4), 1, 1)(torch.zeros(1, 1, 8, 10), torch.tensor(0))


@torch.no_grad()
def test_labels_are_never_dropped_by_the_network_itself() -> None:
    """diffusers drops them in training, in each block apart, so that the others tell what one has hidden."""
    network = randomised(DiT(SMALL, 2, 2, Told(3)))
    evaluated = network(X, TIMES, TOLD)
    assert torch.equal(network.train()(X, TIMES, TOLD), evaluated)
    assert not torch.allclose(network(X, TIMES, TOLD.null()), evaluated)


def test_the_graph_has_no_shape_that_depends_on_data() -> None:
    """Exported strictly, with a class and on a rectangle, it computes the same."""
    with forked(Script(Path(__file__).with_name("exporting.py")), Path.cwd()) as process:
        assert process.stdout is not None and process.stderr is not None
        said, faults = process.stdout.read(), process.stderr.read()
    assert process.returncode == 0, faults
    assert float(said) < 1e-6


def test_what_the_package_does_with_a_network_it_refuses_or_does_for_a_transformer_too() -> None:
    """No features to cache, no edges to see around; sides in multiples of the patch, also where training is tried."""
    with pytest.raises(
        InputError, match=r"multiples of 2 pixels, as its patch or levels ask, got 7x8; set data.size, or"
    ):
        pipeline(size=(7, 8))
    made = pipeline()
    with pytest.raises(InputError, match="expected cache 1, got 2: this network has no deep features"):
        made(1, cache=2, steps=2)
    with pytest.raises(InputError, match=r"network of convolutions to tile by padding.*tile by rolls"):
        tile(made, 8, 8, [0], by="padding")
    *_, last = tile(made, 8, 12, [0], settings=SamplingSettings(steps=2, clip="static"))
    assert last.x_s.shape == (1, 2, 8, 12)
    wide = SMALL.model_copy(update={"patch": 12})
    assert of_training(Config(network=wide), ImageSpec(channels=1, height=72, width=72), made.device).memory > 0
    assert new_classifier(made, ("a", "b"), seed=0).network.settings.name == "unet"
