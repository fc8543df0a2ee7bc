/**
 * Texts of a service, made fit for people and logs: cut first, then masked, all in linear time.
 *
 * A key is recognised by runs of 12 characters that the text shares with it, whatever the case, so a part of it is masked too. The same
 * holds for the key in reverse, in percent-encoding, in hexadecimal and in base64 of both alphabets at any alignment (as in `Basic`
 * credentials, where other text stands before it). A run that begins before the cut is masked whole.
 */
import * as Base64 from "effect/encoding/Base64"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Hex from "effect/encoding/Hex"

/** Characters of a service's text that are read. */
export const maxWords = 4_096
/** Characters of it that are shown. */
export const maxExcerpt = 500

const shared = 12

/** The text as far as it is read, in a string of its own: a slice would keep all of a large body in memory. */
export const cut = (text: string, length: number = maxWords + shared): string => {
  const trimmed = text.trimStart()
  return trimmed.length <= length ? trimmed : decoder.decode(encoder.encode(trimmed.slice(0, length)))
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** The beginning of a text without keys, at most `length` characters of it. */
export const masked = (text: string, secret: string, length: number = maxWords): string => {
  const window = cut(text, length + shared)
  const kept: Array<string> = []
  let from = 0
  for (const [start, end] of spansOf(window, secret)) {
    if (start >= length) break
    kept.push(window.slice(from, start), "****")
    from = end
  }
  if (from < length) kept.push(window.slice(from, length))
  return kept.join("").trim()
}

type Span = readonly [start: number, end: number]

/** What is to be masked, in order and apart. */
const spansOf = (text: string, secret: string): ReadonlyArray<Span> => {
  const spans: Array<Span> = []
  for (const [start, end] of [...ofSecret(text, secret), ...ofLooks(text)].sort((a, b) => a[0] - b[0])) {
    const last = spans.at(-1)
    if (last === undefined || start > last[1]) spans.push([start, end])
    else if (end > last[1]) spans[spans.length - 1] = [last[0], end]
  }
  return spans
}

/** Where the text shares a run with a form of the key, with the rest of the word around it. */
const ofSecret = (text: string, secret: string): ReadonlyArray<Span> => {
  if (secret === "") return []
  const spans: Array<Span> = []
  const folded = fold(text)
  const length = Math.min(shared, secret.length)
  const runs = runsOf(secret, length)
  let free = 0
  for (let i = 0; i + length <= folded.length; i++) {
    if (!runs.has(folded.slice(i, i + length))) continue
    let [start, end] = [i, i + length]
    // A short key may be a part of a word; around a long run stands more of the key.
    if (length === shared) {
      while (start > free && isWord(folded.charCodeAt(start - 1))) start--
      while (end < folded.length && isWord(folded.charCodeAt(end))) end++
    }
    spans.push([start, end])
    free = end
    // The next run may begin anywhere in what is left of this one.
    if (length === shared) i = end - length
  }
  return spans
}

const runsOf = (secret: string, length: number): ReadonlySet<string> => {
  const runs = new Set<string>()
  for (const form of formsOf(secret)) {
    const folded = fold(form)
    for (let i = 0; i + length <= folded.length; i++) runs.add(folded.slice(i, i + length))
  }
  return runs
}

const formsOf = (secret: string): ReadonlyArray<string> => {
  // A key that is no longer than a common word has no forms: they would be found everywhere.
  if (secret.length < shared) return [secret]
  const bytes = encoder.encode(secret)
  const hex = Hex.encode(bytes)
  const forms = [secret, [...secret].reverse().join(""), hex, hex.replace(/../g, "%$&"), encodeURIComponent(secret)]
  for (const before of [0, 1, 2]) {
    const shifted = new Uint8Array(before + bytes.length)
    shifted.set(bytes, before)
    // The first and the last character also hold bits of what stands beside the key.
    const [first, last] = [Math.ceil(before * 8 / 6), Math.floor(shifted.length * 8 / 6)]
    forms.push(Base64.encode(shifted).slice(first, last), Base64Url.encode(shifted).slice(first, last))
  }
  return forms
}

/** The text in lower case, as far as ASCII goes: other letters may change their length. */
const fold = (text: string): string => text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase())

const isWord = (code: number): boolean =>
  (code >= 0x30 && code <= 0x39) || (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a) ||
  code === 0x2d || code === 0x5f || code === 0x2b || code === 0x2f || code === 0x3d || code === 0x25 || code === 0x7e ||
  code === 0x2e

/** What looks like a key, also another one's: `sk-…`, the last characters after asterisks, credentials of an `Authorization` header. */
const ofLooks = (text: string): ReadonlyArray<Span> => {
  const spans: Array<Span> = []
  let [stars, start] = [0, 0]
  let scheme: string | undefined
  for (let i = 0; i < text.length;) {
    const code = text.charCodeAt(i)
    if (isWord(code)) {
      start = i
      while (i < text.length && isWord(text.charCodeAt(i))) i++
      const keyAt = keyIn(text, start, i)
      if (stars > 1) spans.push([start - stars, i])
      else if (keyAt !== undefined) spans.push([keyAt, i])
      else if (isCredential(scheme, text, start, i)) spans.push([start, i])
      scheme = i - start <= 6 ? text.slice(start, i).toLowerCase() : undefined
      stars = 0
    } else {
      stars = code === 0x2a ? stars + 1 : 0
      if (code !== 0x20) scheme = undefined
      i++
    }
  }
  return spans
}

/** What follows a scheme of authorization; after `Basic`, base64, which is not all small letters. */
const isCredential = (scheme: string | undefined, text: string, start: number, end: number): boolean =>
  end - start >= 8 && (scheme === "bearer" || (scheme === "basic" && /[^a-z-]/.test(text.slice(start, end))))

/** Where a word holds `sk-` and at least four more characters, not after a letter or digit. */
const keyIn = (text: string, start: number, end: number): number | undefined => {
  for (let i = start; i + 7 <= end; i++) {
    if (text.startsWith("sk-", i) && (i === start || !isAlphanumeric(text.charCodeAt(i - 1)))) {
      if (isAlphanumeric(text.charCodeAt(i + 3))) return i
    }
  }
  return undefined
}

const isAlphanumeric = (code: number): boolean =>
  (code >= 0x30 && code <= 0x39) || (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a) || code === 0x5f
