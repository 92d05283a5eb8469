/**
 * Texts as rows of token numbers: what `ancestral_lite.bytepairs` does, whose header says how.
 *
 * @typedef {{joins: [number, number][], length: number, lower: boolean}} Tokenizer the n-th join makes token 512 + n
 */

const UNITS = 512; // tokens of one byte
const PRINTED = [...range(33, 127), ...range(161, 173), ...range(174, 256)]; // bytes that stand for themselves
const BYTES = [...PRINTED, ...range(0, 256).filter((byte) => !PRINTED.includes(byte))];
const SPACE = /[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u;
const WORDS = /'(?:s|t|re|ve|m|ll|d)|\p{L}+|\p{N}|[^\p{L}\p{N}]+/gu;
const SPECIAL = /(<\|startoftext\|>|<\|endoftext\|>)/;

/** Start, the tokens of a text or as many as there is room for, end, and end to the last; and whether some were cut. */
export function tokenized(text, { joins, length, lower }) {
  const start = UNITS + joins.length, end = start + 1;
  const made = new Map(joins.map((pair, i) => [String(pair), UNITS + i]));
  const tokens = text.split(SPECIAL).flatMap((part, i) => {
    if (i % 2) return [part.startsWith("<|s") ? start : end];
    const stretches = inOneForm(part, lower).split(SPACE).filter(Boolean);
    return stretches.flatMap((stretch) => stretch.match(WORDS)).flatMap((word) => joined(units(word), joins, made));
  });
  const row = [start, ...tokens.slice(0, length - 2)];
  return { row: [...row, ...Array(length - row.length).fill(end)], cut: tokens.length > length - 2 };
}

/** NFC, and in lower case character by character: a sigma at the end of a word is like any other. */
function inOneForm(text, lower) {
  const normal = text.normalize("NFC");
  return lower ? normal.replaceAll("Σ", "σ").toLowerCase() : normal;
}

/** The bytes of a word as tokens, the last of them marked as its end. */
function units(word) {
  const numbers = [...new TextEncoder().encode(word)].map((byte) => BYTES.indexOf(byte));
  numbers[numbers.length - 1] += BYTES.length;
  return numbers;
}

/** The units of a word after all joins, at each step the earliest one that applies, wherever it does. */
function joined(numbers, joins, made) {
  while (numbers.length > 1) {
    const found = numbers.slice(1).map((right, i) => made.get(`${numbers[i]},${right}`) ?? Infinity);
    const join = Math.min(...found);
    if (join === Infinity) break;
    const [left, right] = joins[join - UNITS], next = [];
    for (let i = 0; i < numbers.length; i++) {
      const both = numbers[i] === left && numbers[i + 1] === right;
      next.push(both ? join : numbers[i]);
      if (both) i++;
    }
    numbers = next;
  }
  return numbers;
}

function range(from, to) {
  return Array.from({ length: to - from }, (_, i) => from + i);
}
