/**
 * What a page's worker does: it holds a network, and generates one image after another, each as it is asked.
 *
 * It is sent {open: {wasm, file}} once; then {image: Asked}, and answers {step} as often as there are steps, and
 * {done: {cut}}: whether the end of the prompt was not read. {cancel} ends the image after the network's call at hand,
 * which is answered by {done} too. What goes wrong is {failed: words}.
 *
 * @typedef {{seed: string, plan: object, told: Row, away: Row, text: Tokenizer | null, fill: Fill | null}} Asked
 * @typedef {{label: number | null, attributes: number[] | null, prompt: string | null}} Row
 * @typedef {{pixels: Uint8Array, keep: Uint8Array, rounds: number}} Fill what is kept of an image, (C, H, W)
 */

let network, opening, cancelled = false;
const turns = new MessageChannel();

self.onmessage = async ({ data }) => {
  try {
    if (data.cancel) cancelled = true;
    if (data.open) opening = Network.open(data.open.wasm, data.open.file);
    if (data.image) await generate(data.image);
  } catch (fault) {
    self.postMessage({ failed: fault.message });
  }
};

async function generate({ seed, plan, told, away, text, fill }) {
  cancelled = false;
  network = await opening;
  const { shape } = network.about, rows = [told, away].map((row) => network.read(known(row, text)));
  const cut = Boolean(text && told.prompt !== null && tokenized(told.prompt, text).cut);
  const predict = (x, time, isAway) => network.call(x, time, rows[Number(isAway)]);
  const noise = new ImageNoise(seed, shape[0] * shape[1] * shape[2]);
  const steps = fill
    ? inpainted(plan, shape, predict, noise, { ...fill, image: Float32Array.from(fill.pixels, encoded) })
    : sampled(plan, shape, predict, noise);
  for (const { t, s, x, x0, xs } of steps) {
    const found = { t, s, x_t: shown(x), x_0: shown(x0), last: s === 0 ? shown(xs) : null };
    self.postMessage({ step: found });
    await turn();
    if (cancelled) break;
  }
  self.postMessage({ done: { cut } });
}

/** What the network is told, of a text its tokens. */
function known({ label, attributes, prompt }, text) {
  return { label, attributes, tokens: text && prompt !== null ? tokenized(prompt, text).row : null };
}

/** x0 of a pixel's level, in float32 as torch computes it. */
function encoded(level) {
  return Math.fround(level / 127.5) - 1;
}

/** The levels of an image's pixels, rounded to even in the middle as torch's. */
function shown(x) {
  return Uint8Array.from(network.decoded(x), (each) => {
    const level = Math.fround(Math.fround(each + 1) * 127.5), below = Math.floor(level), rest = level - below;
    const whole = rest === 0.5 ? below + (below % 2) : below + Number(rest > 0.5);
    return Math.min(Math.max(whole, 0), 255);
  });
}

/** Lets what was sent in the meantime be heard. */
function turn() {
  return new Promise((resolve) => {
    turns.port1.onmessage = resolve;
    turns.port2.postMessage(null);
  });
}
