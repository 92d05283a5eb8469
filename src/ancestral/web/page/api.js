/** Calls of the studio's server, with the key that the address held when the page was opened. */

const KEY = "ancestral-token";
export const UNKNOWN_KEY = "unknown-key"; // the event at a window whose key the studio does not know
const WORDS = /** @type {Record<number, string>} */ ({
  0: "the studio does not answer; is `ancestral studio` still running?",
  403: "the studio refused this page; open the address that `ancestral studio` printed",
  404: "there is nothing of this name in the studio, or no longer; choose another",
  413: "that is too large for the studio, which takes images of up to 16 MB",
  421: "the studio is not called by this name; open the address that `ancestral studio` printed",
});

/** What the server refused, or 0 as the status where it did not answer. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {{error?: string, setting?: string, contract?: string}} [told] `setting`: which one is wrong, by its dotted
   *   name; `contract`: what it has to be
   */
  constructor(status, told = {}) {
    const { error, setting, contract } = told;
    const words = status === 401 ? unknownKey() : WORDS[status];
    super(error || words || `the studio failed with status ${status}; its terminal says more`);
    this.status = status;
    this.setting = setting ?? "";
    this.contract = contract ?? this.message;
  }
}

/** Why the studio does not know a page that it served, and what to do. */
function unknownKey() {
  const held = "this page holds the key of an earlier start of the studio, and each start makes another";
  const why = sessionStorage.getItem(KEY) ? held : "this address holds no key";
  return `${why}; open the address that \`ancestral studio\` printed in its terminal, or paste it here`;
}

/**
 * Takes the key out of the address, `#token=...`, where it would be seen and kept.
 * @returns {boolean} whether there was one
 */
export function adoptToken() {
  const found = /^#token=([\w-]+)&?(.*)$/.exec(location.hash);
  if (!found) return false;
  sessionStorage.setItem(KEY, found[1]);
  history.replaceState(null, "", found[2] ? `#${found[2].replace(/^#/, "")}` : location.pathname);
  return true;
}

/**
 * What JSON an address under /api holds.
 * @param {string} path
 * @returns {Promise<any>}
 */
export async function get(path) {
  return (await call(path)).json();
}

/**
 * Sends JSON.
 * @param {string} path
 * @param {unknown} body
 * @returns {Promise<any>}
 */
export async function post(path, body) {
  const headers = { "content-type": "application/json", "x-studio": "1" };
  return answered(await call(path, { method: "POST", headers, body: JSON.stringify(body) }));
}

/**
 * @param {string} path
 * @returns {Promise<any>}
 */
export async function del(path) {
  return answered(await call(path, { method: "DELETE", headers: { "x-studio": "1" } }));
}

/**
 * @param {string} path
 * @returns {Promise<Uint8Array>}
 */
export async function bytes(path) {
  return new Uint8Array(await (await call(path)).arrayBuffer());
}

/** @param {string} path */
export async function blob(path) {
  return (await call(path)).blob();
}

/**
 * Sends an image.
 * @param {Blob} file
 * @returns {Promise<any>}
 */
export async function upload(file) {
  const headers = { "content-type": "application/octet-stream", "x-studio": "1" };
  return answered(await call("/api/uploads", { method: "POST", headers, body: file }));
}

/**
 * Saves a file of the server where downloads go.
 * @param {string} path
 * @param {string} name
 */
export async function download(path, name) {
  save(await blob(path), name);
}

/**
 * Saves a file that the page made.
 * @param {Blob} content
 * @param {string} name
 */
export function save(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // once the browser has taken it
}

/**
 * An answer that is no fault, whatever it holds. Raises ApiError.
 *
 * @param {string} path
 * @param {RequestInit} [options]
 */
export async function call(path, options = {}) {
  const headers = { ...options.headers, authorization: `Bearer ${sessionStorage.getItem(KEY) ?? ""}` };
  const answer = await fetch(path, { ...options, headers }).catch((fault) => {
    throw fault.name === "AbortError" ? fault : new ApiError(0);
  });
  if (answer.status === 401) dispatchEvent(new Event(UNKNOWN_KEY));
  if (!answer.ok) throw new ApiError(answer.status, await reason(answer));
  return answer;
}

/** @param {Response} answer */
async function answered(answer) {
  const text = await answer.text();
  return text ? JSON.parse(text) : null;
}

/**
 * @param {Response} answer
 * @returns {Promise<{error?: string, setting?: string, contract?: string}>}
 */
async function reason(answer) {
  try {
    return await answer.json();
  } catch {
    return {};
  }
}
