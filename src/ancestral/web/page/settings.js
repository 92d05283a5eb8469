/** Trees of settings and their lines, `name = value`: a value is JSON, or a word that needs no quotes. */

/** @typedef {{[name: string]: any}} Tree */

/**
 * The values of a tree by dotted name.
 * @param {Tree} tree
 * @param {string} [before]
 * @returns {[string, any][]}
 */
export function flat(tree, before = "") {
  return Object.entries(tree).flatMap(([name, value]) =>
    isTree(value) ? flat(value, `${before}${name}.`) : [/** @type {[string, any]} */ ([before + name, value])],
  );
}

/**
 * The tree of values by dotted name.
 * @param {Iterable<[string, any]>} values
 * @returns {Tree}
 */
export function tree(values) {
  /** @type {Tree} */
  const whole = {};
  for (const [name, value] of values) {
    const path = name.split("."),
      last = /** @type {string} */ (path.pop());
    let at = whole;
    for (const each of path) at = at[each] = isTree(at[each]) ? at[each] : {};
    at[last] = value;
  }
  return whole;
}

/** @param {any} value */
function isTree(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/**
 * A value as a line has it.
 * @param {any} value
 */
export function spelled(value) {
  const plain =
    typeof value === "string" &&
    /^[A-Za-z][\w+.\/-]*$/.test(value) &&
    !["true", "false", "null", "none"].includes(value);
  return plain ? value : JSON.stringify(value);
}

/** @param {Iterable<[string, any]>} values by dotted name */
export function asLines(values) {
  return [...values].map(([name, value]) => `${name} = ${spelled(value)}`).join("\n");
}

/**
 * The values of lines, by dotted name; empty lines and those after # count for nothing. Raises Error.
 *
 * @param {string} text
 * @returns {Map<string, any>}
 */
export function fromLines(text) {
  const found = new Map();
  text.split("\n").forEach((line, i) => {
    if (!line.trim() || line.trim().startsWith("#")) return;
    const [, name, value] = /^\s*([\w.]+)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (!name || !value) throw new Error(`expected name = value in line ${i + 1}, got ${line.trim()}`);
    found.set(name, valueOf(value));
  });
  return found;
}

/** @param {string} text */
function valueOf(text) {
  if (text === "none") return null;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/**
 * @param {any} one
 * @param {any} other
 */
export function isSame(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}
