/** The page's elements and what its script knows of the model: everything that the other parts stand on. */

export const part = (id) => document.getElementById(id);
export const about = JSON.parse(part("about").textContent); // `_about` of ancestral.share.page says what
export const [CHANNELS, HEIGHT, WIDTH] = about.image;

export function asNumber(id) {
  return Number(part(id).value);
}

export function element(kind, words = "") {
  return Object.assign(document.createElement(kind), { textContent: words });
}

export function say(words) {
  part("status").textContent = words;
}

/** What went wrong, for people. @param {Error} fault */
export function fail(fault) {
  part("stop").disabled = true;
  part("alert").hidden = false;
  part("alert").textContent = `Something went wrong: ${fault.message}`;
  part("alert").scrollIntoView({ block: "nearest" });
}

/** The content of a block of the page, which is base64. */
export function bytes(base64) {
  return Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
}

// What the page says and offers

/** The same, of one that was compressed. */
export async function unpacked(id) {
  const stream = new Blob([bytes(part(id).textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
