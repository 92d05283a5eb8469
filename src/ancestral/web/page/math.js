/**
 * Formulas as MathML, out of short texts, with numbers in them that change.
 *
 * Letters and digits stand for themselves, α, ε and all, with subscripts by _ and superscripts by ^, of one sign or of
 * a group in braces. \frac{a}{b}, \sqrt{a}, \bar{a}, \hat{a} and \tilde{a} are what they are in TeX; "words" stand
 * upright; [name] is a place for a number.
 */

const MATHML = "http://www.w3.org/1998/Math/MathML";
const ACCENTS = /** @type {Record<string, string>} */ ({ bar: "¯", hat: "^", tilde: "~" });
const TOKEN = /\s*(\\[a-z]+|"[^"]*"|\[\w+\]|[\d.]+|\p{L}|\S)/uy;

/** @typedef {{element: Element, set: (values: Record<string, number | null>) => void}} Formula */

/**
 * @param {string} text
 * @returns {Formula}
 */
export function formula(text) {
  const places = /** @type {Map<string, Element[]>} */ (new Map());
  const reader = new Reader(text, places);
  const element = make("math", ...reader.group());
  element.setAttribute("display", "block");
  return {
    element,
    set(values) {
      for (const [name, value] of Object.entries(values)) {
        for (const each of places.get(name) ?? []) each.textContent = value === null ? "…" : bracketed(each, value);
      }
    },
  };
}

/**
 * A number as a formula shows it.
 * @param {number | null | undefined} value
 */
export function shown(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "…";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value),
    digits = size && (size < 1e-3 || size >= 1e5) ? value.toExponential(3) : value.toFixed(size < 100 ? 4 : 1);
  return digits.replace(/-/g, "−");
}

/**
 * A negative number in brackets where an operator stands before it.
 *
 * @param {Element} place
 * @param {number} value
 */
function bracketed(place, value) {
  const operator = place.previousElementSibling?.textContent ?? "=";
  return value < 0 && "×+−·".includes(operator) ? `(${shown(value)})` : shown(value);
}

class Reader {
  /**
   * @param {string} text
   * @param {Map<string, Element[]>} places
   */
  constructor(text, places) {
    this.tokens = [...text.matchAll(new RegExp(TOKEN, "gu"))].map(([, token]) => token);
    this.places = places;
    this.at = 0;
  }

  /** Everything up to a closing brace, or to the end. */
  group() {
    const found = [];
    while (this.at < this.tokens.length && this.tokens[this.at] !== "}") found.push(this.scripted());
    this.at++;
    return found;
  }

  scripted() {
    const base = this.atom(),
      scripts = /** @type {Record<string, Element>} */ ({});
    while (["_", "^"].includes(this.tokens[this.at])) scripts[this.tokens[this.at++]] = this.atom();
    const { _: below, "^": above } = scripts;
    if (below && above) return make("msubsup", base, below, above);
    return below ? make("msub", base, below) : above ? make("msup", base, above) : base;
  }

  /** @returns {Element} */
  atom() {
    const token = this.tokens[this.at++];
    if (token === "{") return make("mrow", ...this.group());
    if (token === "\\frac") return make("mfrac", this.atom(), this.atom());
    if (token === "\\sqrt") return make("msqrt", this.atom());
    if (token.startsWith("\\")) return accented(this.atom(), ACCENTS[token.slice(1)]);
    if (token.startsWith('"')) return make("mtext", token.slice(1, -1));
    if (/^\[\w+\]$/.test(token)) return this.place(token.slice(1, -1));
    if (/^[\d.]+$/.test(token)) return make("mn", token);
    return make(/^\p{L}$/u.test(token) ? "mi" : "mo", token);
  }

  /** @param {string} name */
  place(name) {
    const made = make("mn", "…");
    this.places.set(name, [...(this.places.get(name) ?? []), made]);
    return made;
  }
}

/**
 * @param {Element} base
 * @param {string} sign
 */
function accented(base, sign) {
  const made = make("mover", base, make("mo", sign));
  made.setAttribute("accent", "true");
  return made;
}

/**
 * @param {string} tag
 * @param {...(Node | string)} children
 */
function make(tag, ...children) {
  const made = document.createElementNS(MATHML, tag);
  made.append(...children);
  return made;
}
