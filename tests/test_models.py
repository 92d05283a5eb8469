"""Models that come along: found by name, whole, in few bits, and in the wheel."""

import subprocess
import sys
import tomllib
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from latent_pipelines import averaging
from pipelines import SMALL, TINY, answering, untrained
from released import packed
from safetensors.torch import load_file
from sklearn.svm import SVC

import ancestral.models
from ancestral import load
from ancestral.diffusion.variances import Analytic
from ancestral.errors import InputError
from ancestral.hub.autoencoder import read_autoencoder
from ancestral.models import CARD, TABLE, about, models, resolved
from ancestral.networks.rounding import rounded
from ancestral.networks.weights import weights_hash
from ancestral.pipeline import Pipeline
from ancestral.presets import PRESETS
from ancestral.settings import Config, ImageSpec
from ancestral.tokenizer import Tokenizer
from distribution.models import PACKED, RELEASES, licence, table

ROOT = Path(__file__).parents[1]
OURS = Path(ancestral.models.__file__).parent


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def dots(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the model `dots`, of a package that is on the path."""
    root = tmp_path_factory.mktemp("site-packages")
    folder = packed(root, "dots", answering(untrained()))
    monkeypatch.syspath_prepend(str(root))
    return folder


def test_the_digits_that_come_along_are_digits() -> None:
    """A support vector machine of real images sees the class asked for, in as many as of the run they are from."""
    pipeline = Pipeline.load("digits", "cpu")
    train = load(pipeline.config.data).train
    classifier = SVC().fit(train.pixels().reshape(len(train), -1), train.labels)
    labels = torch.arange(100) % 10
    images = pipeline.generate(range(100), labels)
    assert (classifier.predict(images.flatten(1).numpy()) == labels.numpy()).mean() >= 0.92
    assert about()["digits"] == RELEASES["digits"].about


def test_a_folder_or_file_of_that_name_wins(tmp_path: Path) -> None:
    mine = untrained()
    mine.save("digits")
    assert resolved("digits") == Path("digits")
    assert Pipeline.load("digits", "cpu").weights_hash() == mine.weights_hash()
    assert Pipeline.load(OURS / "digits", "cpu").weights_hash() != mine.weights_hash()
    (tmp_path / "digits").rename(tmp_path / "kept")
    Path("digits").write_text("a file")
    with pytest.raises(InputError, match="got digits, which is no folder"):
        Pipeline.load("digits")


def test_a_path_is_a_path(tmp_path: Path) -> None:
    """Trap: pathlib takes the ./ away, by which a user says that no name is meant."""
    assert resolved("./digits") == resolved(Path.cwd() / "digits") == tmp_path / "digits"
    assert resolved("digits") == resolved(Path("digits")) == OURS / "digits"
    assert resolved("no/such/digits") == Path("no/such/digits")
    with pytest.raises(InputError, match="no folder"):
        Pipeline.load("./digits")


def test_a_word_that_names_nothing_is_answered_with_the_names(dots: Path) -> None:
    with pytest.raises(InputError, match=r"got digts, which is no folder; .* comes along: digits, dots$"):
        Pipeline.load("digts")


def test_models_of_another_package_are_found_and_nothing_of_it_is_run(dots: Path) -> None:
    assert models() == {"digits": OURS / "digits", "dots": dots} and about()["dots"] == "dots, 8x8 grey"
    loaded = Pipeline.load("dots", "cpu")
    assert loaded.weights_hash() == weights_hash(rounded(answering(untrained()).network, 16))
    assert "ancestral_models" not in sys.modules


def test_where_the_other_package_is_not_installed_an_unknown_name_is_answered_with_it() -> None:
    with pytest.raises(InputError, match=r"comes along: digits; the package ancestral-models brings others$"):
        Pipeline.load("photos")


def test_what_a_system_leaves_in_a_model_is_no_change_of_it(dots: Path) -> None:
    (dots / ".DS_Store").write_bytes(b"Bud1")
    (dots / "unet" / "._config.json").write_bytes(b"\0")
    assert Pipeline.load("dots", "cpu").num_classes == 0


def test_of_two_models_of_one_name_ours_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed(tmp_path, "digits", untrained())
    monkeypatch.syspath_prepend(str(tmp_path))
    assert models() == {"digits": OURS / "digits"}


def test_a_folder_that_only_bears_the_name_of_the_package_holds_no_models(tmp_path: Path) -> None:
    """Trap: a folder without a table, such as one of the user's in the current folder."""
    (tmp_path / "ancestral_models" / "dots").mkdir(parents=True)
    assert [*models()] == ["digits"]


@pytest.mark.parametrize("damage", ["changed", "missing", "more"])
def test_a_model_that_is_not_as_it_was_released_is_refused(dots: Path, damage: str) -> None:
    weights = dots / "unet" / "diffusion_pytorch_model.safetensors"
    if damage == "changed":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    elif damage == "missing":
        (dots / "README.md").unlink()
    else:
        (dots / "variance.json").write_text("{}")
    told = {"changed": "with the SHA-256 in its", "missing": "got none at", "more": "that its table lacks at"}[damage]
    for given in ("dots", dots):
        with pytest.raises(InputError, match=f"{told}.*install ancestral-models again$"):
            Pipeline.load(given)
    assert Pipeline.load("digits", "cpu").num_classes == 10, "of the others nothing is said"


def test_the_tables_are_those_of_the_files() -> None:
    assert (OURS / TABLE).read_text() == table(OURS)
    assert sorted(each.name for each in (OURS / "digits").iterdir() if each.is_file()) == [
        *("LICENSE", CARD, "ancestral.json", "model_index.json"),
    ]


def test_the_card_is_of_the_weights_and_names_what_it_owes() -> None:
    card, owed = ((OURS / "digits" / name).read_text() for name in (CARD, "LICENSE"))
    assert Pipeline.load("digits", "cpu").weights_hash() in card
    assert all("Alpaydin" in text and "CC BY 4.0" in text for text in (card, owed))
    assert "MIT License" in owed and owed == licence("digits")


def test_only_what_may_be_given_on_is_released() -> None:
    """Trap: a preset of a folder of the user's, or of a set whose licence is not settled."""
    assert {PRESETS[name]().data.source for name in RELEASES} == {"digits", "photos", "shapes", "shapes-one"}
    assert all(name in licence("photos") for name in ("danielbuechele", "vultilion", "CC BY 2.0"))
    assert "digits" not in PACKED, "the package itself has it"


def test_the_wheel_holds_the_models(tmp_path: Path) -> None:
    """Every file of the table, to the byte; the data are under a megabyte and a half."""
    files = {line.split("  ")[1]: line.split("  ")[0] for line in (OURS / TABLE).read_text().splitlines()}
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        for name, digest in files.items():
            assert sha256(wheel.read(f"ancestral/models/{name}")).hexdigest() == digest
        size = sum(each.compress_size for each in wheel.infolist() if "/models/" in each.filename)
        assert f"ancestral/models/{TABLE}" in wheel.namelist() and size < 1.5e6
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        licences = [name for name in wheel.namelist() if ".dist-info/licenses/" in name]
        assert len(licences) == 2, project["license-files"]


def test_a_folder_of_16_bits_is_loaded_as_float32_with_the_rounded_weights(tmp_path: Path) -> None:
    pipeline = answering(untrained(classes=("a", "b")))
    pipeline.save("whole")
    pipeline.save("half", bits=16)
    loaded = Pipeline.load("half", "cpu")
    assert {each.dtype for each in loaded.network.state_dict().values()} == {torch.float32}
    assert loaded.weights_hash() == weights_hash(rounded(pipeline.network, 16)) != pipeline.weights_hash()
    tensors = load_file("half/unet/diffusion_pytorch_model.safetensors")
    assert {(each.ndim > 1, each.dtype) for each in tensors.values()} == {(True, torch.float16), (False, torch.float32)}
    own = [(folder / "ancestral.json").read_text() for folder in (Path("half"), Path("whole"))]
    assert own[0] == own[1]


def test_text_encoder_and_autoencoder_are_rounded_too() -> None:
    tokenizer = Tokenizer.learn(["a red circle", "a blue square"], length=9)
    config = Config(network=SMALL, text={"name": "learned", "length": 9})
    spec = ImageSpec(channels=1, height=8, width=8, text=tokenizer.spec)
    told = answering(Pipeline.fresh(config, spec, "cpu", tokenizer=tokenizer))
    told.save("told", bits=16)
    assert Pipeline.load("told", "cpu").weights_hash() == weights_hash(rounded(told.network, 16))
    assert torch.float16 in {each.dtype for each in load_file("told/text_encoder/model.safetensors").values()}
    codec = averaging()
    seen = Pipeline.fresh(
        Config(network=TINY, sampling={"clip": "none"}), ImageSpec(channels=1, height=8, width=8), "cpu", codec=codec
    )
    seen.save("latents", bits=16)
    seen.save("exact")
    halves, exact = (read_autoencoder(Path(name, "vqvae")) for name in ("latents", "exact"))
    assert weights_hash(halves.network) == weights_hash(rounded(exact.network, 16)) != weights_hash(exact.network)


def test_what_was_measured_with_other_weights_is_left_out_and_other_bits_are_refused() -> None:
    pipeline = answering(untrained())
    steps = pipeline.diffusion.num_timesteps
    measured = Pipeline(**{**vars(pipeline), "analytic": Analytic(torch.zeros(steps, dtype=torch.float64))})
    measured.save("whole")
    measured.save("half", bits=16)
    assert Path("whole/variance.json").is_file() and not Path("half/variance.json").exists()
    with pytest.raises(InputError, match="expected weights in 32 or 16 bits, got 8"):
        measured.save("eighth", bits=8)  # type: ignore[arg-type]
    with torch.no_grad():
        next(each for each in pipeline.network.parameters() if each.ndim > 1).fill_(1e6)
    with pytest.raises(InputError, match="weights that 16 bits hold, got 1e"):
        pipeline.save("beyond", bits=16)
    assert not [*Path().glob("*beyond*")]
