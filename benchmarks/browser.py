"""`python -m benchmarks.browser`: what a call of the networks takes in Chromium, by the engine of `ancestral.share`.

Milliseconds are processor time of the page's thread, so that other work on the machine does not count.
"""

import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import Page, sync_playwright

from ancestral.pipeline import Pipeline
from ancestral.presets import PRESETS
from ancestral.settings import ImageSpec
from ancestral.share.engine import bare_page
from ancestral.share.weights import packed

CHROMIUM = "/usr/bin/chromium"
NETWORKS = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "photos": (3, 32, 32), "mnist-nll": (1, 28, 28)}
CALLS = 200
SCRIPT = """
window.opened = async (text) => {
  window.network = await Network.open(wasm, bytes(text).buffer);
};
window.called = (count) => {
  const x = new ImageNoise(0, network.about.shape.reduce((a, b) => a * b)).next(), told = network.read({});
  for (let i = 0; i < count; i++) network.call(x, 500, told);
};
"""


def main() -> None:
    print("| network | file of 16 bits, MB | to open it, ms | a call, ms | memory, MB |\n|---|---|---|---|---|")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "engine.html")
        file.write_text(bare_page(SCRIPT), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, (channels, height, width) in NETWORKS.items():
            page = browser.new_page()
            page.goto(file.as_uri())
            spec = ImageSpec(channels=channels, height=height, width=width)
            print(_row(page, name, packed(Pipeline.fresh(PRESETS[name](), spec, torch.device("cpu")))))
            page.close()
        browser.close()


def _row(page: Page, name: str, file: bytes) -> str:
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def milliseconds(call: str, *given: object) -> float:
        before = _busy(devtools.send("Performance.getMetrics"))
        page.evaluate(f"given => {call}(...given)", given)
        return 1e3 * (_busy(devtools.send("Performance.getMetrics")) - before)

    opened = milliseconds("opened", b64encode(file).decode())
    milliseconds("called", CALLS // 10)  # the browser compiles again what is called often
    each = milliseconds("called", CALLS) / CALLS
    memory = page.evaluate("network.kernels.memory.buffer.byteLength")
    return f"| {name} | {len(file) / 1e6:.2f} | {opened:.0f} | {each:.2f} | {memory / 1e6:.1f} |"


def _busy(metrics: Any) -> float:
    """Seconds of the processor that the page's tasks have taken."""
    return next(float(each["value"]) for each in metrics["metrics"] if each["name"] == "TaskDuration")


if __name__ == "__main__":
    main()
