/** Calls of the studio's server, with the key that the address held when the page was opened. */

const KEY = "ancestral-token";
const WORDS = /** @type {Record<number, string>} */ ({
  0: "the studio does not answer; is `ancestral studio` still running?",
  401: "the studio does not know this page; open the address that `ancestral studio` printed",
  403: "the studio refused this page; open the address that `ancestral studio` printed",
  404: "there is nothing of this name in the studio, or no longer; choose another",
  413: "that is too large for the studio, which takes images of up to 16 MB",
  421: "the studio is not called by this name; open the address that `ancestral studio` printed",
});

/** What the server refused, or 0 as the status where it did not answer. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} [message]
   */
  constructor(status, message) {
    super(message || WORDS[status] || `the studio failed with status ${status}; its terminal says more`);
    this.status = status;
  }
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
 * @returns {Promise<string>}
 */
async function reason(answer) {
  try {
    return (await answer.json()).error ?? "";
  } catch {
    return "";
  }
}
