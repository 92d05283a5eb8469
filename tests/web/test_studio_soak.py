"""Long use: neither the server nor its worker nor the page grows."""

from pathlib import Path

import pytest
from browsers import Browser
from page_calls import opened
from studio_calls import StudioProcess

DRAWS, WARM = 2000, 200
DRAW = """async (count) => {
  const button = [...document.querySelectorAll("main button")].find((each) => each.textContent === "Next seeds");
  const job = () => new URLSearchParams(location.hash.split("?")[1]).get("job");
  const moment = () => document.querySelector(".film-view .moment")?.textContent ?? "";
  const frame = () => new Promise((done) => setTimeout(done, 2));
  for (let i = 0; i < count; i++) {
    const before = job();
    button.click();
    while (job() === before || button.disabled || !moment().includes("after")) await frame();
  }
}"""


def resident(process: int) -> int:
    """Bytes of memory of a process and of all that it began."""
    status = Path(f"/proc/{process}/status").read_text()
    own = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return 1024 * own + sum(map(resident, map(int, children)))


@pytest.mark.slow
def test_two_thousand_draws_leave_server_and_page_as_they_were(chromium: Browser, studio: StudioProcess) -> None:
    page = opened(chromium, studio, "#/draw?run=tiny&images=4", "Next seeds")
    page.evaluate(DRAW, WARM)
    before = resident(studio.process.pid)
    for _ in range((DRAWS - WARM) // 100):
        page.evaluate(DRAW, 100)
    grown, nodes = resident(studio.process.pid) / before, page.evaluate("document.querySelectorAll('*').length")
    print(f"{DRAWS} draws: {before / 1e6:.0f} MB, times {grown:.3f}; {nodes} elements")
    assert grown < 1.05
    assert nodes < 5000
    assert page.complaints == []
