/**
 * What two questions of similar words must have in common to have the same answer.
 *
 * Embeddings put a question and its negation, or two questions about different numbers or names, next to each other. This looks at the texts,
 * English or Chinese, and tells differences that matter:
 *
 * | difference | what differs |
 * |---|---|
 * | `numbers` | numbers in their order, with percent signs and units, also written as words; `1,000` is `1000`, `两百` is `200` |
 * | `quotes` | what stands in quotation marks, backticks or book title marks |
 * | `names` | capitalised words, abbreviations, identifiers, and Latin words in Chinese text, in their order |
 * | `negations` | how often something is negated |
 * | `opposites` | words such as `before` and `after`, `最大` and `最小`, or `possible` and `impossible` |
 * | `words` | one place while the rest is the same, or the order alone. A name in lower case or in Chinese is found by this |
 *
 * A difference that is told may be none. A difference in other words than these is not found.
 *
 * @since 0.1.0
 */
import * as words from "./internal/words.ts"

/**
 * @category models
 * @since 0.1.0
 */
export type Difference = "numbers" | "quotes" | "names" | "negations" | "opposites" | "words"

/**
 * What of a text is compared.
 *
 * @category models
 * @since 0.1.0
 */
export interface Meaning {
  readonly numbers: ReadonlyArray<string>
  readonly quotes: ReadonlyArray<string>
  /** In lower case. */
  readonly names: ReadonlySet<string>
  readonly negations: number
  /** One of each pair of opposites where there is any, by the pair. */
  readonly opposites: ReadonlyMap<number, string>
  /** All words in lower case; a Chinese character is one. */
  readonly words: ReadonlyArray<string>
  /** Those that say something, without endings and numbers. */
  readonly content: ReadonlyArray<string>
}

/**
 * Reads a text. The work is linear in its length.
 *
 * @category constructors
 * @since 0.1.0
 */
export const of = (given: string): Meaning => {
  const text = words.plain(given)
  const all = words.split(text)
  const lower = all.map(({ word }) => word.toLowerCase().replace(/'s$/, ""))
  return {
    numbers: words.numbers(text),
    quotes: words.quotes(text),
    names: words.names(all, text),
    negations: words.negations(lower, text),
    opposites: words.opposites(lower, text),
    words: lower,
    content: words.content(lower)
  }
}

const isEqual = (a: ReadonlyArray<string>, b: ReadonlyArray<string>): boolean =>
  a.length === b.length && a.every((word, at) => word === b[at])

/** What is a name in one text is one in the other, too, however it is written there. */
const haveSameNames = (a: Meaning, b: Meaning): boolean => {
  const isName = (word: string) => a.names.has(word) || b.names.has(word)
  return isEqual(a.words.filter(isName), b.words.filter(isName))
}

const haveSameOpposites = (a: Meaning, b: Meaning): boolean => {
  for (const [pair, found] of a.opposites) if ((b.opposites.get(pair) ?? found) !== found) return false
  return !isDenied(a.words, new Set(b.words)) && !isDenied(b.words, new Set(a.words))
}

const prefixes = ["un", "in", "im", "ir", "il", "dis", "non", "non-", "mis"]
const isDenied = (all: ReadonlyArray<string>, others: ReadonlySet<string>): boolean =>
  all.some((word) => word.length >= 4 && !others.has(word) && prefixes.some((prefix) => others.has(prefix + word)))

/** Whether only the order of the words differs, as in a way there and back. */
const isReordered = ({ content: a }: Meaning, { content: b }: Meaning): boolean =>
  a.length === b.length && !isEqual(a, b) && isEqual(a.toSorted(), b.toSorted())

/** Whether up to two words, or four Chinese characters, stand in the place of others, and at least as many around are the same. */
const haveSameFrame = ({ content: a }: Meaning, { content: b }: Meaning): boolean => {
  const shorter = Math.min(a.length, b.length)
  let start = 0
  while (start < shorter && a[start] === b[start]) start++
  let end = 0
  while (end < shorter - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++
  const [left, right] = [a.slice(start, a.length - end), b.slice(start, b.length - end)]
  const most = [...left, ...right].every(words.isHan) ? 4 : 2
  const different = Math.max(left.length, right.length)
  return left.length > 0 && right.length > 0 && different <= most && start + end >= different
}

/**
 * Tells what differs between two texts. Equal texts have no difference; of texts without one, the similarity decides.
 *
 * **Example** (A number more)
 *
 * ```ts
 * import { SameMeaning } from "@ballast/router"
 *
 * SameMeaning.differences(
 *   SameMeaning.of("How do I export 100 rows?"),
 *   SameMeaning.of("How can I export 1,000 rows?")
 * ) // ["numbers"]
 * ```
 *
 * @category comparisons
 * @since 0.1.0
 */
export const differences = (a: Meaning, b: Meaning): ReadonlyArray<Difference> => {
  const found: Array<Difference> = []
  if (!isEqual(a.numbers, b.numbers)) found.push("numbers")
  if (!isEqual(a.quotes, b.quotes)) found.push("quotes")
  if (!haveSameNames(a, b)) found.push("names")
  if (a.negations !== b.negations) found.push("negations")
  if (!haveSameOpposites(a, b)) found.push("opposites")
  if (haveSameFrame(a, b) || isReordered(a, b)) found.push("words")
  return found
}
