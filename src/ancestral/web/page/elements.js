/** Elements of the page, made out of names, properties and texts: no text is ever read as HTML. */

/** @typedef {Node | string | number | null | undefined | false} Child */
/** @typedef {Record<string, any>} Props */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. Of its properties a function is a listener ("onclick"), true and false set or leave out an attribute,
 * null leaves it out too, `value` is that of a field, and all else is an attribute. A style is set by classes.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Props | null} [props]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, props, ...children) {
  const made = document.createElement(tag);
  fill(made, props, children);
  return made;
}

/**
 * An element of a drawing, by the same rules.
 *
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Props | null} [props]
 * @param {...(Child | Child[])} children
 * @returns {SVGElementTagNameMap[T]}
 */
export function svg(tag, props, ...children) {
  const made = document.createElementNS(SVG, tag);
  fill(made, props, children);
  return made;
}

/** @param {Element} made @param {Props | null | undefined} props @param {(Child | Child[])[]} children */
function fill(made, props, children) {
  made.append(
    ...children.flat().flatMap((each) => (isThere(each) ? [each instanceof Node ? each : String(each)] : [])),
  );
  for (const [name, value] of Object.entries(props ?? {})) {
    if (!isThere(value)) continue;
    if (typeof value === "function") made.addEventListener(name.replace(/^on/, ""), value);
    else if (name === "value") /** @type {any} */ (made).value = value;
    else made.setAttribute(name, value === true ? "" : String(value));
  }
}

/** @template T @param {T | null | undefined | false} value @returns {value is T} */
function isThere(value) {
  return value !== null && value !== undefined && value !== false;
}

/**
 * Listens to kinds of events, which spaces part.
 *
 * @param {EventTarget} target @param {string} kinds @param {(event: any) => void} act
 * @returns {() => void} stops listening
 */
export function on(target, kinds, act) {
  const each = kinds.split(" ");
  for (const kind of each) target.addEventListener(kind, act);
  return () => each.forEach((kind) => target.removeEventListener(kind, act));
}

/** The element of the page with an id.
 * @param {string} id @returns {HTMLElement} */
export function part(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`expected an element #${id} in the page`);
  return found;
}

/**
 * A button that does something, and is switched off while it does. What goes wrong is said in the page.
 *
 * @param {string} words @param {() => unknown} act @param {Props} [props]
 */
export function button(words, act, props) {
  const made = h("button", { type: "button", ...props }, words);
  on(made, "click", async () => {
    made.disabled = true;
    try {
      await act();
    } catch (fault) {
      fail(fault);
    } finally {
      made.disabled = false;
    }
  });
  return made;
}

/** Says something to whoever listens to the page rather than looks at it.
 * @param {string} words */
export function say(words) {
  part("status").textContent = words;
}

/** What went wrong, for people; "" takes it back. That the server does not answer stands at the foot of a page that
 * shows something.
 * @param {unknown} fault */
export function fail(fault) {
  const alert = part("alert"),
    words = fault instanceof Error ? fault.message : String(fault);
  if (fault instanceof Error && "status" in fault && fault.status === 0 && part("view").childElementCount) return;
  alert.hidden = !words;
  alert.textContent = words;
  if (words) alert.scrollIntoView({ block: "nearest" });
}
