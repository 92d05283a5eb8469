/**
 * The page that `ancestral share` writes: what is asked, the images and their films, and painting over one of them.
 *
 * What is asked and what is looked at stand in the address after #, so that it can be kept and given away.
 *
 * @typedef {{seed: bigint, told: Row, words: string, frames: Frame[], whole: Uint8Array | null}} Image
 * @typedef {{t: number, s: number, x_t: Uint8Array, x_0: Uint8Array}} Frame a step's images, (C, H, W)
 */

const FRAME = 50; // ms of a film, at least
const FILM = 4000; // ms of a whole film that plays, about
const LAST = 2000; // ms that a saved film shows the image itself
const MOST_FRAMES = 120; // of a saved film
const MOST_SEED = 2n ** 63n - 1n;
const FIELDS = ["class", "prompt", "seed", "images", "sampler", "steps", "guidance"];
const MASK_SIDE = 640; // pixels of the mask's canvas, about

const part = (id) => document.getElementById(id);
const about = JSON.parse(part("about").textContent);
const [CHANNELS, HEIGHT, WIDTH] = about.image;

let plans, pool;
let images = [], chosen = 0, follows = true, playing = 0, run = 0;
let brush = null; // {mask, source, at: [x, y], last}: while it is painted

start().catch(fail);

async function start() {
  describe();
  offer();
  restore();
  listen();
  const [weights, text] = await Promise.all([unpacked("weights"), unpacked("plans")]);
  plans = JSON.parse(new TextDecoder().decode(text));
  pool = new Pool(part("worker").textContent, { wasm: bytes(part("kernels").textContent), file: weights.buffer });
  await generate();
}

/** The bytes of a block of the page, which were compressed. */
async function unpacked(id) {
  const stream = new Blob([bytes(part(id).textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
}

// What the page says and offers

function describe() {
  part("name").textContent = about.name;
  part("lead").textContent = about.lead;
  for (const [term, said] of about.facts) {
    const pair = element("div");
    pair.append(element("dt", term), element("dd", said));
    part("inside").append(pair);
  }
  part("shown").style.aspectRatio = part("mask").style.aspectRatio = `${WIDTH} / ${HEIGHT}`;
  for (const canvas of [part("shown"), part("mask")]) canvas.classList.toggle("smooth", Math.min(WIDTH, HEIGHT) > 128);
  const isDark = matchMedia("(prefers-color-scheme: dark)");
  showTheme(isDark.matches);
  isDark.addEventListener("change", () => showTheme(isDark.matches));
}

function offer() {
  const { classes, attributes, text, knows_null: free, usual } = about;
  part("class-field").hidden = !classes.length;
  part("class").append(new Option("each in turn", "all"), ...classes.map((name, i) => new Option(name, i)));
  if (free) part("class").append(new Option("none in particular", "none"));
  part("prompt-field").hidden = !text;
  part("prompt").value = about.prompts.join("\n");
  part("attributes-field").hidden = !attributes.length;
  attributes.forEach(({ name }, i) => {
    const field = element("label", `${name} `), input = element("input");
    Object.assign(input, { id: `attribute-${i}`, type: "number", step: "any", placeholder: free ? "any" : "", required: !free });
    field.append(input);
    part("attributes").append(field);
  });
  const guided = classes.length || attributes.length || text;
  part("guidance-field").hidden = !(guided && about.can_guide);
  part("sampler").append(...Object.keys(about.samplers).map((name) => new Option(name)));
  Object.assign(part("seed"), { value: "0" });
  Object.assign(part("images"), { value: String(about.images) });
  part("guidance").value = usual.guidance;
  part("sampler").value = usual.sampler;
  offerSteps(usual.steps);
  part("paint").hidden = !about.in_pixels;
  Object.assign(part("size"), { max: Math.max(1, Math.round(Math.min(WIDTH, HEIGHT) / 2)) });
  part("size").value = Math.max(1, Math.round(Math.min(WIDTH, HEIGHT) / 8));
  for (const id of ["size", "rounds", "guidance"]) showValue(id);
}

function offerSteps(wanted) {
  const counts = about.samplers[part("sampler").value];
  part("steps").replaceChildren(...counts.map((count) => new Option(count)));
  const nearest = [...counts].sort((a, b) => Math.abs(a - wanted) - Math.abs(b - wanted))[0];
  part("steps").value = nearest;
}

function showValue(id) {
  part(`${id}-value`).textContent = id === "guidance" && asNumber("guidance") === 1 ? "1 (none)" : part(id).value;
}

function showTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  part("theme").setAttribute("aria-pressed", dark);
}

// The address

function restore() {
  const kept = new URLSearchParams(location.hash.slice(1));
  for (const name of ["sampler", ...FIELDS.filter((each) => each !== "sampler")]) {
    const value = kept.get(name), field = part(name);
    if (value === null) continue;
    if (field.options && ![...field.options].some((option) => option.value === value)) continue;
    field.value = value;
    if (name === "sampler") offerSteps(about.usual.steps);
  }
  about.attributes.forEach(({ name }, i) => {
    if (kept.has(`=${name}`)) part(`attribute-${i}`).value = kept.get(`=${name}`);
  });
  showValue("guidance");
}

function remember() {
  const kept = new URLSearchParams();
  for (const name of FIELDS) {
    if (!part(name).closest("[hidden]") && part(name).value !== "") kept.set(name, part(name).value);
  }
  about.attributes.forEach(({ name }, i) => kept.set(`=${name}`, part(`attribute-${i}`).value));
  history.replaceState(null, "", `#${kept}`);
}

// Generating

/** What is asked of each image, from the form. */
function asked() {
  const count = asNumber("images"), first = BigInt(part("seed").value), prompts = lines(part("prompt").value);
  if (first + BigInt(count) - 1n > MOST_SEED) throw new RangeError(`expected a seed of at most ${MOST_SEED}`);
  const attributes = about.attributes.map(({ mean, std }, i) => (part(`attribute-${i}`).valueAsNumber - mean) / std);
  return Array.from({ length: count }, (_, i) => {
    const choice = part("class").value, index = choice === "all" ? i % about.classes.length : Number(choice);
    const label = about.classes.length && choice !== "none" ? index : null;
    const prompt = prompts.length ? prompts[i % prompts.length] : null;
    const told = { label, attributes: attributes.length ? attributes : null, prompt };
    const isTold = label !== null || prompt !== null || attributes.some((each) => !Number.isNaN(each));
    const words = [label === null ? "" : `class ${about.classes[label]}`, prompt].filter(Boolean).join(", ");
    return { seed: first + BigInt(i), told, isTold, words };
  });
}

/** The plan that was chosen; guidance pushes nothing where nothing is told. */
function plan(isTold) {
  const whole = planOf(plans, part("sampler").value, asNumber("steps")), guidance = asNumber("guidance");
  if (!isTold || part("guidance-field").hidden) return guided(whole, 1);
  return guidance === about.usual.guidance ? whole : guided(whole, guidance);
}

/** Generates what the form asks for; while it is painted, so many fillings. */
async function generate() {
  if (!part("request").reportValidity()) return;
  const rows = asked(), number = ++run, fill = brush && !brush.mask.isEmpty ? filling() : null;
  if (brush && !fill) return say("Paint over what is to be filled anew first.");
  remember();
  stop();
  images = rows.map(({ seed, told, words }) => ({ seed, told, words, frames: [], whole: null }));
  chosen = Math.min(chosen, images.length - 1);
  follows = true;
  showGrid();
  part("stop").disabled = false;
  part("alert").hidden = true;
  const begun = performance.now();
  let done = 0;
  const expected = rows.length * (fill ? (asNumber("steps") - 1) * fill.rounds + 1 : asNumber("steps"));
  const onStep = (i, { last, ...frame }) => {
    if (number !== run) return;
    images[i].frames.push(frame);
    images[i].whole = last ?? images[i].whole;
    done++;
    const left = ((performance.now() - begun) / done) * (expected - done);
    say(`${Math.round((100 * done) / expected)} %${left > 1000 ? `, ${Math.round(left / 1000)} s left` : ""}`);
    redraw(i);
  };
  const jobs = rows.map(({ seed, told, isTold }, i) => {
    const image = { seed: String(seed), plan: plan(isTold), told, away: about.away, text: about.text, fill };
    return pool.run(image, (step) => onStep(i, step));
  });
  const outcomes = await Promise.allSettled(jobs);
  if (number !== run) return;
  part("stop").disabled = true;
  const fault = outcomes.find(({ status }) => status === "rejected");
  if (fault) return fail(fault.reason);
  const finished = images.filter(({ whole }) => whole).length, seconds = (performance.now() - begun) / 1000;
  const verb = fill ? "filled" : "generated", all = `${finished} image${finished === 1 ? "" : "s"} ${verb} in ${seconds.toFixed(1)} s`;
  const cut = outcomes.filter(({ value }) => value.cut).length;
  const unread = cut ? `; the end of ${cut === 1 ? "a prompt" : `${cut} prompts`} is not read: too many words` : "";
  say((finished < images.length ? `Stopped: ${all} of ${images.length}` : all) + unread);
}

function stop() {
  pool?.cancel();
  pause();
}

function filling() {
  return { pixels: brush.source, keep: brush.mask.kept(CHANNELS), rounds: asNumber("rounds") };
}

// Images and films

function showGrid() {
  part("grid").replaceChildren(
    ...images.map(({ seed, words }, i) => {
      const button = element("button"), canvas = element("canvas"), name = element("span", words.replace(/^class /, "") || (seed === null ? "your own" : `seed ${seed}`));
      button.type = "button";
      button.title = [seed === null ? "" : `seed ${seed}`, words].filter(Boolean).join(", ");
      button.append(canvas, name);
      button.addEventListener("click", () => choose(i));
      show(canvas, blank(), about.image);
      return button;
    }),
  );
  choose(chosen);
}

function choose(i) {
  chosen = i;
  follows = true;
  pause();
  [...part("grid").children].forEach((button, each) => button.setAttribute("aria-pressed", each === i));
  redraw(i);
}

/** Position n of a film is its step n, and the last one the image; until it is there, the latest step. */
function seen(image, position) {
  if (image.whole && position >= image.frames.length) return image.whole;
  const frame = image.frames[Math.min(position, image.frames.length - 1)];
  return frame ? frame[shows()] : blank();
}

function redraw(i) {
  const image = images[i], latest = image.whole ? image.frames.length : Math.max(0, image.frames.length - 1);
  show(part("grid").children[i].firstChild, seen(image, latest), about.image);
  if (i !== chosen) return;
  const slider = part("position");
  slider.max = latest;
  if (follows) slider.value = latest;
  showMoment();
}

function showMoment() {
  const image = images[chosen], position = asNumber("position"), frame = image.frames[position];
  const last = image.frames.length, of = [image.seed === null ? "your own" : `seed ${image.seed}`, image.words];
  show(part("shown"), seen(image, position), about.image);
  part("shown").setAttribute("aria-label", `Image: ${of.filter(Boolean).join(", ")}`);
  const reached = image.whole ? (last ? `after ${last} steps` : "to be painted over") : "not begun";
  const where = frame ? `step ${position + 1}, t = ${frame.t}` : reached;
  part("moment").textContent = [...of, where].filter(Boolean).join(" · ");
}

function shows() {
  return document.querySelector("input[name=shows]:checked").value;
}

function blank() {
  return new Uint8Array(CHANNELS * HEIGHT * WIDTH).fill(127);
}

/** Plays the chosen film from where it is, or from its beginning where it is at its end. */
function play() {
  if (playing) return pause();
  const slider = part("position"), last = Number(slider.max);
  const from = asNumber("position") >= last ? 0 : asNumber("position"), begun = performance.now();
  part("play").textContent = "Pause";
  follows = false;
  const each = Math.max(FRAME, FILM / Math.max(last, 1));
  const frame = (now) => {
    slider.value = Math.min(from + Math.floor(Math.max(0, now - begun) / each), last);
    showMoment();
    if (Number(slider.value) < last) playing = requestAnimationFrame(frame);
    else pause();
  };
  playing = requestAnimationFrame(frame);
}

function pause() {
  cancelAnimationFrame(playing);
  playing = 0;
  part("play").textContent = "Play";
}

async function save(kind) {
  const image = images[chosen], name = `${about.file}-${image.seed === null ? "own" : image.seed}`;
  if (kind === "grid") {
    return download(await png([gridOf(images.map((each) => seen(each, Infinity)), about.image)]), `${about.file}-grid`);
  }
  if (kind === "image") return download(await png([gridOf([seen(image, asNumber("position"))], about.image)]), name);
  const every = Math.ceil(image.frames.length / MOST_FRAMES), steps = image.frames.filter((_, i) => i % every === 0);
  const frames = [...steps.map((frame) => frame[shows()]), ...(image.whole ? [image.whole] : [])];
  const times = frames.map((_, i) => (i === frames.length - 1 ? LAST : FRAME));
  return download(await png(frames.map((frame) => gridOf([frame], about.image)), times), `${name}-film`);
}

function download(blob, name) {
  const link = element("a"), url = URL.createObjectURL(blob);
  Object.assign(link, { href: url, download: `${name}.png` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

// Painting

function paint() {
  if (brush) brush = null;
  else takeUp(seen(images[chosen], Infinity), images[chosen]);
  part("brush").hidden = part("mask").hidden = !brush;
  part("paint").setAttribute("aria-expanded", Boolean(brush));
  part("paint").textContent = brush ? "Done painting" : "Paint over it";
  part("generate").disabled = Boolean(brush);
  if (brush) part("mask").focus();
}

/** What is painted over from now on, with nothing painted yet. Fillings are told what the image was told. */
function takeUp(source, { seed, told, words } = { seed: null, told: null, words: "" }) {
  stop();
  if (Number.isInteger(told?.label)) part("class").value = told.label;
  if (told?.prompt) part("prompt").value = told.prompt;
  showCommand();
  brush = { mask: new Mask(HEIGHT, WIDTH), source, at: [WIDTH >> 1, HEIGHT >> 1], last: null };
  run++;
  images = [{ seed, told, words, frames: [], whole: source }];
  chosen = 0;
  showGrid();
  showMask();
}

function showMask() {
  const canvas = part("mask"), scale = Math.max(1, Math.round(MASK_SIDE / Math.max(WIDTH, HEIGHT)));
  Object.assign(canvas, { width: WIDTH * scale, height: HEIGHT * scale });
  const context = canvas.getContext("2d"), { mask, at } = brush, size = asNumber("size"), back = (size - 1) >> 1;
  context.fillStyle = "rgb(230 60 120 / 60%)";
  mask.painted.forEach((each, i) => {
    if (each) context.fillRect((i % WIDTH) * scale, Math.floor(i / WIDTH) * scale, scale, scale);
  });
  for (const [color, width] of [["black", 4], ["white", 2]]) {
    Object.assign(context, { strokeStyle: color, lineWidth: width });
    context.strokeRect((at[0] - back) * scale, (at[1] - back) * scale, size * scale, size * scale);
  }
  const count = mask.painted.reduce((a, b) => a + b, 0);
  canvas.setAttribute("aria-label", `Mask: ${count} of ${WIDTH * HEIGHT} pixels painted; brush at column ${at[0] + 1}, row ${at[1] + 1}`);
  part("fill").disabled = mask.isEmpty;
  part("undo").disabled = !mask.before.length;
}

function pixelAt(event) {
  const box = part("mask").getBoundingClientRect();
  const place = (at, from, length, count) => Math.min(Math.max(Math.floor(((at - from) / length) * count), 0), count - 1);
  return [place(event.clientX, box.left, box.width, WIDTH), place(event.clientY, box.top, box.height, HEIGHT)];
}

function dab(to) {
  const value = Number(part("erase").getAttribute("aria-pressed") !== "true");
  brush.mask.line(brush.last ?? to, to, asNumber("size"), value);
  brush.at = brush.last = to;
  showMask();
}

function stroke(event) {
  if (event.type === "pointerdown" && event.button === 0) {
    event.currentTarget.setPointerCapture(event.pointerId);
    brush.mask.begin();
    dab(pixelAt(event));
  } else if (event.type === "pointermove" && brush.last) {
    for (const each of event.getCoalescedEvents?.() ?? [event]) dab(pixelAt(each));
  } else if (event.type !== "pointermove") {
    brush.last = null;
  } else {
    brush.at = pixelAt(event);
    showMask();
  }
}

function strokeByKey(event) {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const move = moves[event.key];
  if (!move && event.key !== " ") return;
  event.preventDefault();
  const [x, y] = move ?? [0, 0], from = brush.at;
  const to = [Math.min(Math.max(from[0] + x, 0), WIDTH - 1), Math.min(Math.max(from[1] + y, 0), HEIGHT - 1)];
  brush.last = null;
  if (move && !event.shiftKey) {
    brush.at = to;
    return showMask();
  }
  brush.mask.begin();
  if (move) brush.last = from;
  dab(to);
  brush.last = null;
}

async function openFile() {
  const [file] = part("file").files;
  part("file").value = "";
  if (!file) return;
  try {
    takeUp(await opened(file, about.image));
  } catch {
    fail(new Error(`expected an image that this browser reads, got ${file.name}; choose another`));
  }
}

// What is pressed

function listen() {
  const on = (id, kind, act) => part(id).addEventListener(kind, act);
  on("request", "submit", (event) => {
    event.preventDefault();
    generate().catch(fail);
  });
  on("next", "click", () => {
    if (!part("request").reportValidity()) return;
    const next = BigInt(part("seed").value) + BigInt(part("images").value);
    part("seed").value = String(next > MOST_SEED ? 0n : next);
    generate().catch(fail);
  });
  on("stop", "click", stop);
  on("theme", "click", () => showTheme(document.documentElement.dataset.theme !== "dark"));
  on("sampler", "change", () => offerSteps(asNumber("steps")));
  for (const id of ["size", "rounds", "guidance"]) on(id, "input", () => showValue(id));
  on("size", "input", () => brush && showMask());
  on("position", "input", () => {
    pause();
    follows = asNumber("position") === Number(part("position").max);
    showMoment();
  });
  for (const radio of document.querySelectorAll("input[name=shows]")) {
    radio.addEventListener("change", () => images.forEach((_, i) => redraw(i)));
  }
  on("play", "click", play);
  for (const kind of ["image", "film", "grid"]) on(`save-${kind}`, "click", () => save(kind).catch(fail));
  on("paint", "click", paint);
  on("erase", "click", () => part("erase").setAttribute("aria-pressed", part("erase").getAttribute("aria-pressed") !== "true"));
  for (const act of ["undo", "invert", "clear"]) {
    on(act, "click", () => {
      brush.mask[act]();
      showMask();
    });
  }
  on("fill", "click", () => generate().catch(fail));
  on("choose", "click", () => part("file").click());
  on("file", "change", openFile);
  for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) on("mask", kind, stroke);
  on("mask", "keydown", strokeByKey);
  on("request", "input", showCommand);
  showCommand();
}

/** The command that generates the same images. */
function showCommand() {
  const words = ["ancestral", "sample", "RUN", "--seed", part("seed").value, "--num-images", part("images").value];
  const choice = part("class").value, prompts = lines(part("prompt").value);
  if (about.classes.length && choice !== "all") words.push("--classes", choice === "none" ? "none" : about.classes[choice]);
  for (const prompt of about.text ? prompts : []) words.push("--prompt", prompt);
  const numbers = about.attributes.map(({ name }, i) => [name, part(`attribute-${i}`).value]).filter(([, value]) => value);
  if (numbers.length) words.push("--attributes", numbers.map((each) => each.join("=")).join(","));
  words.push("--sampler", part("sampler").value, "--steps", part("steps").value);
  if (!part("guidance-field").hidden) words.push("--guidance", part("guidance").value);
  part("command").textContent = words.map((word) => (/^[\w.,:=+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(" ");
}

// Small things

function asNumber(id) {
  return Number(part(id).value);
}

function lines(text) {
  return about.text ? text.split("\n").map((line) => line.trim()).filter(Boolean) : [];
}

function element(kind, words = "") {
  return Object.assign(document.createElement(kind), { textContent: words });
}

function say(words) {
  part("status").textContent = words;
}

function fail(fault) {
  part("stop").disabled = true;
  part("alert").hidden = false;
  part("alert").textContent = `Something went wrong: ${fault.message}`;
}
