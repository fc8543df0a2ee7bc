/**
 * Chunks of one stream mostly differ in one string: what they say. Such a chunk is not parsed; it is the one before with another string.
 *
 * The text before and after that string is compared byte for byte, so whatever else stands in a chunk has been parsed once and is the
 * same. A text that differs anywhere else is parsed.
 */
const fields = ["content", "reasoning_content"] as const

type Field = (typeof fields)[number]

interface Choice {
  readonly delta: { readonly [F in Field]?: string | null | undefined } & { readonly tool_calls?: unknown }
}

/** What is looked at of a chunk. */
interface Chunk {
  readonly choices: ReadonlyArray<Choice>
}

/** A string of a chunk's text that may be another one. */
interface Likeness<C> {
  readonly chunk: C
  readonly choice: Choice
  readonly field: Field
  readonly before: string
  readonly after: string
}

/** After so many parsed chunks in a row the rest of the stream is parsed, too: some services change a field in every chunk. */
const patience = 4

/** A string that needs no escape: no quote, backslash or control character is in it. */
const plain = /^[ !#-[\]-\uffff]*$/

/** No answer says this by chance, and if one does, nothing but time is lost. */
const probe = "\u{f8ff} a string in its place \u{f8ff}"

/** A part of a string that is longer is no copy, and keeps all of it in memory, here that of a whole read. */
const copied = 12

/** A copy of a short text, made of copies. */
const own = (text: string): string => {
  if (text.length <= copied) return text
  let copy = ""
  for (let at = 0; at < text.length; at += copied) copy += text.slice(at, at + copied)
  return copy
}

/** A longer text is parsed, since a copy in pieces would be slow to read. */
const short = 4 * copied

/** The string whose JSON, without its quotes, is this text; undefined when the text is not the JSON of one string. */
const stringOf = (text: string): string | undefined => {
  if (text.length <= short && plain.test(text)) return own(text)
  try {
    const value: unknown = JSON.parse(`"${text}"`)
    return typeof value === "string" ? value : undefined
  } catch {
    return undefined
  }
}

const find = <C extends Chunk>(chunk: C, text: string): Likeness<C> | undefined => {
  const [choice] = chunk.choices
  if (choice === undefined || chunk.choices.length > 1 || choice.delta.tool_calls != null) return undefined
  const field = fields.find((field) => choice.delta[field])
  const value = field && choice.delta[field]
  if (field === undefined || typeof value !== "string") return undefined
  const key = `"${field}":"`
  const written = `${key}${JSON.stringify(value).slice(1)}`
  const at = text.indexOf(written)
  if (at === -1) return undefined
  const before = text.slice(0, at + key.length)
  const after = text.slice(at + written.length - 1)
  if (!isThere(before, after, field)) return undefined
  const [ownBefore, ownAfter]: [string, string] = JSON.parse(JSON.stringify([before, after]))
  // A copy of the chunk, without its text.
  return { chunk: { ...chunk }, choice, field, before: ownBefore, after: ownAfter }
}

/** Whether what stands between is the field that is meant, and not one of the same name elsewhere. */
const isThere = (before: string, after: string, field: Field): boolean => {
  const { choices }: Chunk = JSON.parse(`${before}${probe}${after}`)
  return choices[0]?.delta?.[field] === probe
}

/** Reads the chunks of one stream that are like one before. */
export class Likenesses<C extends Chunk> {
  private last: Likeness<C> | undefined
  private misses = 0

  /** The chunk of a text that is like one before; undefined for any other. */
  read(text: string): C | undefined {
    const { last } = this
    if (last === undefined) return undefined
    const { after, before, choice, chunk, field } = last
    const end = text.length - after.length
    // Six times as fast as `startsWith` and `endsWith`.
    if (end < before.length || text.slice(0, before.length) !== before || text.slice(end) !== after) return undefined
    const value = stringOf(text.slice(before.length, end))
    if (value === undefined) return undefined
    this.misses = 0
    // All but one string is that of the other chunk.
    return { ...chunk, choices: [{ ...choice, delta: { ...choice.delta, [field]: value } }] } as C
  }

  /** Takes note of a chunk that was parsed, and nothing of which was repaired. */
  note(chunk: C, text: string): void {
    if (this.misses === patience) return
    this.misses++
    this.last = find(chunk, text)
  }
}
