"""The benchmark of a few calls draws, measures and keeps what it says. No times."""

import json
from pathlib import Path

import pytest
import torch
from pipelines import TINY

from ancestral.data.datasets import load
from ancestral.evaluation.evaluate import extractor_of
from ancestral.evaluation.metrics import frechet_distance
from ancestral.pipeline import Pipeline
from ancestral.progress import finish
from ancestral.rng import mix
from ancestral.settings import Config, DataSettings
from ancestral.tensors import to_pixels
from benchmarks import few_calls


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_features: None) -> Path:
    monkeypatch.setattr(few_calls, "SEEDS", (1, 2))
    config = Config(data=DataSettings(source="digits"), network=TINY)
    Pipeline.fresh(config, load(config.data).train.spec, "cpu").save(tmp_path / "run" / "pipeline")
    return tmp_path / "run"


def test_every_seed_is_measured_once_and_the_table_has_means(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(run), "--images", "20", "--out", str(tmp_path)]
    monkeyed = few_calls.LONG.replace("1000", "3")
    assert few_calls.main([*words, monkeyed, "heun,karras,3", "--guidance", "1", "2"]) == 0
    kept = json.loads((tmp_path / "few-calls-run.json").read_text())
    assert {key.rpartition(",")[2] for key in kept["rows"]} == {"1", "2"} and len(kept["rows"]) == 8
    assert kept["rows"]["heun,karras,3,2,1"]["calls"] == 5
    told = capsys.readouterr().out
    assert "| heun,karras,3,2 | 5 |" in told and f"| {monkeyed},1 | 3 |" in told

    pipeline, parts = Pipeline.load(run, "cpu"), load(Config().data)
    extractor = finish(extractor_of(parts, 0))
    drawn = [step.x_s for step in pipeline.steps(
        [mix(2, "few calls", i) for i in range(20)],
        torch.arange(20) % 10,
        few_calls.asked(pipeline, "heun,karras,3", 1.0),
    )][-1]  # fmt: skip
    real = extractor.features(few_calls.as_pixels(parts.test))
    again = frechet_distance(extractor.features(to_pixels(drawn)), real)
    assert kept["rows"]["heun,karras,3,1,2"]["frechet"] == pytest.approx(again)

    marked = {**kept, "rows": {**kept["rows"], "heun,karras,3,1,1": {**kept["rows"]["heun,karras,3,1,1"], "recall": 7}}}
    (tmp_path / "few-calls-run.json").write_text(json.dumps(marked))
    assert few_calls.main([*words, "heun,karras,3"]) == 0
    assert json.loads((tmp_path / "few-calls-run.json").read_text())["rows"]["heun,karras,3,1,1"]["recall"] == 7


def test_the_ratio_is_that_of_means_to_ancestral_sampling_at_a_thousand() -> None:
    def row(value: float) -> few_calls.Row:
        return {"calls": 10, "frechet": value, "agreement": None, "recall": 0.5, "coverage": 0.5}

    rows = {f"{few_calls.LONG},1,1": row(1.0), f"{few_calls.LONG},1,2": row(3.0), "ddim,trailing,10,1,1": row(2.2)}
    lines = few_calls.table({"rows": rows, "floor": 0.5, "accuracy": 0.99})
    assert "| ddim,trailing,10,1 | 10 | 2.200 ± 0.000 | 1.100 |  | 0.500 ± 0.000 | 0.500 ± 0.000 |" in lines
    assert "| ancestral,trailing,1000,1 | 10 | 2.000 ± 1.000 | 1.000 |" in lines[2]
