/**
 * Characters that change how a terminal or an editor shows a text, instead of being shown: the control characters C0, DEL and C1, the marks,
 * embeddings, overrides and isolates of the bidirectional algorithm (UAX 9), and the two separators that some viewers break lines at.
 */
// oxlint-disable-next-line no-control-regex -- they are what is looked for
const unsafe = /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g

const codeOf = (char: string): string => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`

/** Escapes them all, as JSON does: in a line of JSON they stand inside strings only, so it keeps its meaning. */
export const line = (text: string): string => text.replace(unsafe, codeOf)

/**
 * The same for a line of JSON, in which JSON itself has escaped C0. What is left stands in few lines: that one is ASCII is known sooner than it is
 * searched.
 */
export const json = (text: string): string =>
  Buffer.byteLength(text) === text.length && !text.includes("\x7f") ? text : line(text)

/** The same for a text of several lines, each of which is indented, so that none looks like an entry of its own. */
export const lines = (text: string): string => text.split("\n").map((part) => `  ${line(part)}`).join("\n")
