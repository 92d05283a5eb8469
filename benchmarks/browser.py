"""`python -m benchmarks.browser`: what a call of the networks takes in Chromium, by the engine of `ancestral.share`.

Milliseconds are processor time of the page's thread, so that other work on the machine does not count.
"""

import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import Page, sync_playwright

from ancestral.codec import PIXELS, Codec
from ancestral.networks.autoencoder import Autoencoder
from ancestral.networks.latents import latent_codec
from ancestral.pipeline import Pipeline
from ancestral.presets import PRESETS
from ancestral.settings import ImageSpec, KLSettings, PlainSettings, VQSettings
from ancestral.share.engine import bare_page
from ancestral.share.weights import macs, packed

CHROMIUM = "/usr/bin/chromium"
NETWORKS = {
    "digits": (1, 8, 8),
    "digits-dit": (1, 8, 8),
    "mnist": (1, 28, 28),
    "photos": (3, 32, 32),
    "shapes": (3, 32, 32),
    "emoji-64": (3, 64, 64),
    "mnist-nll": (1, 28, 28),
}
CALLS = 200
SCRIPT = """
window.opened = async (text) => {
  window.network = await Network.open(wasm, bytes(text).buffer);
};
window.called = (count) => {
  const told = network.read({}), x = noise();
  for (let i = 0; i < count; i++) network.call(x, 500, told);
};
window.read = (count) => {
  for (let i = 0; i < count; i++) network.read({});
};
window.decoded = (count) => {
  const x0 = noise();
  for (let i = 0; i < count; i++) network.decoded(x0);
};
const noise = () => new ImageNoise(0, network.about.shape.reduce((a, b) => a * b)).next();
"""


def main() -> None:
    print(
        "| network | multiply-adds of a call, M | file of 16 bits, MB | to open it, ms | to read what is told, ms | "
        "a call, ms | to decode, ms | memory, MB |\n" + "|---" * 8 + "|"
    )
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "engine.html")
        file.write_text(bare_page(SCRIPT), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, shape in NETWORKS.items():
            page = browser.new_page()
            page.goto(file.as_uri())
            print(_row(page, name, _untrained(name, shape)))
            page.close()
        browser.close()


def _untrained(name: str, shape: tuple[int, int, int]) -> Pipeline:
    config, (channels, height, width) = PRESETS[name](), shape
    spec = ImageSpec(channels=channels, height=height, width=width)
    codec: Codec = PIXELS
    if isinstance(config.codec, PlainSettings | KLSettings | VQSettings):
        zeros, ones = (torch.full((config.codec.channels,), each, dtype=torch.float64) for each in (0.0, 1.0))
        codec = latent_codec(Autoencoder(config.codec, channels), zeros, ones)
    return Pipeline.fresh(config, spec, torch.device("cpu"), codec=codec)


def _row(page: Page, name: str, pipeline: Pipeline) -> str:
    file = packed(pipeline)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def milliseconds(call: str, *given: object) -> float:
        before = _busy(devtools.send("Performance.getMetrics"))
        page.evaluate(f"given => {call}(...given)", given)
        return 1e3 * (_busy(devtools.send("Performance.getMetrics")) - before)

    opened = milliseconds("opened", b64encode(file).decode())
    milliseconds("called", CALLS // 10)  # the browser compiles again what is called often
    each, read = (milliseconds(what, CALLS) / CALLS for what in ("called", "read"))
    decodes = pipeline.codec != PIXELS
    decoded = f"{milliseconds('decoded', CALLS // 10) / (CALLS // 10):.1f}" if decodes else ""
    memory = page.evaluate("network.kernels.memory.buffer.byteLength")
    sizes = f"{macs(pipeline) / 1e6:.0f} | {len(file) / 1e6:.2f}"
    return f"| {name} | {sizes} | {opened:.0f} | {read:.2f} | {each:.2f} | {decoded} | {memory / 1e6:.1f} |"


def _busy(metrics: Any) -> float:
    """Seconds of the processor that the page's tasks have taken."""
    return next(float(each["value"]) for each in metrics["metrics"] if each["name"] == "TaskDuration")


if __name__ == "__main__":
    main()
