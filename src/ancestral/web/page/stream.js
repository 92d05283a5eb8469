/** The stream of the server's events: one a page, begun again where it broke off, and closed while nobody looks. */

import { ApiError, call } from "./api.js";

const FIRST_WAIT = 300,
  LONGEST_WAIT = 5000; // ms before another try

/** @typedef {(name: string, data: any) => void} Receive */

/**
 * Receives all events after one, as long as the page is open.
 *
 * @param {() => number} last the id of the last event that is known
 * @param {(id: number, name: string, data: any) => void} receive
 * @param {(connected: boolean, fault?: unknown) => void} tell whether the server is heard
 */
export function listen(last, receive, tell) {
  let wait = FIRST_WAIT,
    timer = 0,
    /** @type {AbortController | null} */ open = null;

  async function connect() {
    if (open || document.hidden) return;
    clearTimeout(timer);
    const own = (open = new AbortController());
    try {
      const headers = { "last-event-id": String(last()) };
      const answer = await call("/api/events", { headers, signal: own.signal });
      tell(true);
      wait = FIRST_WAIT;
      await read(/** @type {ReadableStream<Uint8Array>} */ (answer.body), receive);
      throw new ApiError(0);
    } catch (fault) {
      if (own.signal.aborted) return;
      tell(false, fault);
      open = null;
      if (fault instanceof ApiError && fault.status === 401) return;
      timer = setTimeout(connect, wait);
      wait = Math.min(LONGEST_WAIT, 2 * wait);
    }
  }

  const close = () => {
    clearTimeout(timer);
    open?.abort();
    open = null;
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : connect()));
  addEventListener("online", () => {
    close();
    tell(false); // what was asked for meanwhile has failed
    connect();
  });
  connect();
}

/** @param {ReadableStream<Uint8Array>} body @param {(id: number, name: string, data: any) => void} receive */
async function read(body, receive) {
  const reader = body.getReader(),
    decoder = new TextDecoder();
  for (let text = ""; ;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true });
    const blocks = text.split(/\r?\n\r?\n/);
    text = blocks.pop() ?? "";
    for (const block of blocks) dispatch(block, receive);
  }
}

/** @param {string} block an event, a line a field @param {(id: number, name: string, data: any) => void} receive */
function dispatch(block, receive) {
  const fields = { id: "", event: "message", data: "" };
  for (const line of block.split(/\r?\n/)) {
    const [, name, value] = /^(id|event|data): ?(.*)$/.exec(line) ?? [];
    if (name) fields[/** @type {keyof typeof fields} */ (name)] += name === "event" ? "" : value;
    if (name === "event") fields.event = value;
  }
  if (fields.data) receive(Number(fields.id), fields.event, JSON.parse(fields.data));
}
