import { ChatAccumulator, ChatChunk, WireText } from "@ballast/chat"
import { assert, describe, it } from "@effect/vitest"
import * as errors from "../../src/internal/errors.ts"
import * as framing from "../../src/internal/framing.ts"
import { masked, maxExcerpt, maxWords } from "../../src/internal/mask.ts"
import { count } from "../support/work.ts"

const secret = "sk-0123456789abcdefghijklmnopqrstuv"
const answer = (status: number, body: string) => ({ status, headers: {}, secret, body })

/** Texts that made patterns read the same characters again and again, or that repeat what is looked for. */
const texts: ReadonlyArray<readonly [string, (size: number) => string]> = [
  ["asterisks", (size) => "*".repeat(size)],
  ["blanks", (size) => `x${" ".repeat(size)}x`],
  ["blanks in a list of models", (size) => `The supported API model names are a${" ".repeat(size)}b, but you passed c`],
  ["blanks in front", (size) => `${" ".repeat(size)}x`],
  ["keys", (size) => secret.repeat(Math.ceil(size / secret.length))],
  ["halves of keys", (size) => "sk-0123456789abc ".repeat(Math.ceil(size / 17))],
  ["prefixes", (size) => "sk-".repeat(Math.ceil(size / 3))],
  ["schemes", (size) => "bearer ".repeat(Math.ceil(size / 7))],
  ["titles", (size) => "<title>".repeat(Math.ceil(size / 7))],
  ["models", (size) => "model ".repeat(Math.ceil(size / 6))],
  ["balances", (size) => "insufficient a a ".repeat(Math.ceil(size / 17))],
  ["letters", (size) => "A".repeat(size)]
]

const readers: ReadonlyArray<
  readonly [name: string, body: (text: string) => string, read: (body: string) => unknown]
> = [
  ["an answer in text", (text) => text, (body) => errors.fromAnswer(answer(400, body), 0)],
  [
    "an answer in JSON",
    (text) => JSON.stringify({ error: { message: text, code: text, type: text } }),
    (body) => errors.fromAnswer(answer(429, body), 0)
  ],
  ["a page", (text) => `<${text}`, (body) => errors.fromAnswer(answer(500, body), 0)],
  [
    "a list of errors",
    (text) => JSON.stringify({ detail: Array.from(text, (c) => ({ loc: [c, c], msg: c })) }),
    (body) => errors.fromAnswer(answer(422, body), 0)
  ],
  [
    "errors in errors",
    (text) => `${"[".repeat(text.length)}${"]".repeat(text.length)}`,
    (body) => errors.fromAnswer(answer(400, body), 0)
  ],
  [
    "an event",
    (text) => JSON.stringify({ error: { message: text, param: text } }),
    (body) => errors.fromStated(JSON.parse(body), answer(200, body), 0)
  ],
  ["a broken body", (text) => text, (body) => errors.malformed("not JSON", answer(200, body), false)]
]

describe("the work on an error's text", () => {
  it.each(readers)("is linear, and patterns see its beginning only: %s", (_, make, read) => {
    for (const [name, text] of texts) {
      const runs = [1, 2, 4].map((times) => {
        const body = make(text(times * 8_192))
        return { size: body.length, ...count(() => void read(body)) }
      })
      for (const [i, run] of runs.entries()) {
        assert.isBelow(run.longest, maxWords + 100, name)
        // What is read beyond the beginning is read a few times at most.
        const before = runs[i - 1]
        if (before !== undefined) assert.isAtMost(run.visited - before.visited, 4 * (run.size - before.size), name)
      }
    }
  })
})

const chunkOf = (tool_calls: ReadonlyArray<unknown>) =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta: { tool_calls } }] })}\n\n`

/** Bodies of streams that made a reader look at the same characters again and again. */
const bodies: ReadonlyArray<readonly [string, (size: number) => string]> = [
  ["a line without an end", (size) => `data: ${"x".repeat(size)}`],
  ["line feeds", (size) => `data: x${"\n".repeat(size)}`],
  ["carriage returns", (size) => `data: x${"\r".repeat(size)}`],
  ["lines of data that are one event", (size) => "data: {\n".repeat(size / 8)],
  ["lines of data that are events", (size) => "data: {}\n".repeat(size / 8)],
  [
    "data that never becomes whole, in lines",
    (size) => `data: {"a":"${"x".repeat(size / 2)}\n${":\n".repeat(size / 4)}`
  ],
  ["lines of JSON", (size) => "{}\n".repeat(size / 3)],
  ["a text of JSON in lines", (size) => `{\n${"\"a\":1,\n".repeat(size / 7)}`],
  ["a page", (size) => "<p>\n".repeat(size / 4)],
  ["a name in fragments", (size) => chunkOf([{ index: 0, function: { name: "a" } }]).repeat(size / 64)],
  ["arguments in fragments", (size) => chunkOf([{ index: 0, function: { arguments: "{" } }]).repeat(size / 64)],
  [
    "tool calls with an index",
    (size) => chunkOf(Array.from({ length: size / 64 }, (_, index) => ({ index, id: `${index}` })))
  ],
  ["tool calls without one", (size) => chunkOf(Array.from({ length: size / 64 }, () => ({ function: { name: "a" } })))],
  [
    "parts of a text",
    (size) => `data: {"choices":[{"delta":{"content":[${"{\"text\":\"a\"},".repeat(size / 13)}"a"]}}]}\n\n`
  ]
]

/** Reads a body in pieces of so many bytes, as a stream is read. */
const readStream = (bytes: Uint8Array, size: number) => {
  const read = ChatChunk.reader()
  const joined = ChatAccumulator.make()
  const body = new framing.Body((data) => {
    const chunk = read(data)
    if (!(chunk instanceof WireText.Unreadable)) ChatAccumulator.add(joined, chunk)
  })
  for (let at = 0; at < bytes.length; at += size) body.take(bytes.subarray(at, at + size))
  body.end(false)
  ChatAccumulator.toCompletion(joined)
}

describe("the work on a stream", () => {
  it.each(bodies)("is linear, however it is cut: %s", (_, make) => {
    for (const size of [1, 7, Infinity]) {
      const [once, twice, fourfold] = [1, 2, 4].map((times) => {
        const bytes = new TextEncoder().encode(make(times * 8_192))
        return count(() => readStream(bytes, Math.min(size, bytes.length))).visited
      }) as [number, number, number]
      assert.isAtMost(twice - once, 40 * 8_192, `pieces of ${size}`)
      assert.isAtMost(fourfold - twice, 2.5 * (twice - once) + 1_000, `pieces of ${size}`)
    }
  })
})

const base64 = (text: string) => Buffer.from(text).toString("base64")
const percent = (text: string) => Array.from(text, (c) => `%${c.charCodeAt(0).toString(16)}`).join("")
const swapped = (text: string) =>
  text.replace(/[a-z]/gi, (c) => c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase())

describe("the mask", () => {
  const keys = [
    secret,
    "another-service's?key>with~signs",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"
  ]
  const forms: ReadonlyArray<readonly [string, (key: string) => string]> = [
    ["as it is", (key) => key],
    ["its first half", (key) => key.slice(0, key.length / 2)],
    ["its last half", (key) => key.slice(key.length / 2)],
    ["in base64", base64],
    ["in base64, one further", (key) => base64(`a${key}b`)],
    ["in base64, two further", (key) => base64(`ab${key}`)],
    ["as Basic credentials", (key) => `Basic ${base64(`user:${key}`)}`],
    ["as Basic credentials without a password", (key) => `Basic ${base64(`${key}:`)}`],
    ["in base64 for URLs", (key) => Buffer.from(`abc${key}`).toString("base64url")],
    ["in percent-encoding", percent],
    ["in percent-encoding, in capitals", (key) => percent(key).toUpperCase()],
    ["as a part of a URL", (key) => `https://host/?key=${encodeURIComponent(key)}&a=b`],
    ["in hexadecimal", (key) => Buffer.from(key).toString("hex")],
    ["in capitals", (key) => key.toUpperCase()],
    ["with its case swapped", swapped],
    ["backwards", (key) => Array.from(key).reverse().join("")]
  ]

  it.each(forms)("takes the key out: %s", (_, form) => {
    for (const key of keys) {
      const echo = form(key)
      const text = masked(`before ${echo} after`, key, maxExcerpt)
      assert.match(text, /^before .*\*\*\*\*.* after$/)
      // A few characters at the edges may also stand for other text; no longer part is left.
      for (let i = 0; i + 12 <= echo.length; i++) {
        const part = echo.slice(i, i + 12)
        if (!/^(?:https:|Basic|\?key)/.test(part) && !part.includes("host")) assert.notInclude(text, part)
      }
    }
  })

  it("holds where the text is cut", () => {
    for (const key of keys) {
      for (let before = maxExcerpt - key.length - 2; before <= maxExcerpt + 2; before++) {
        const text = masked(`${".,".repeat(before).slice(0, before - 1)} ${key} after`, key, maxExcerpt)
        assert.notInclude(text, key.slice(0, 4), `${before}`)
        assert.isAtMost(text.length, maxExcerpt + 4)
      }
    }
  })

  it("leaves other words", () => {
    for (
      const text of [
        "Simulated status 418",
        "a task-force for risk-level two",
        "use Basic authentication",
        "2 * 3 ** 4"
      ]
    ) {
      assert.strictEqual(masked(text, "sk-simulated", maxExcerpt), text)
    }
  })

  it("takes a short key out where it stands", () => {
    assert.strictEqual(masked("the key tok-7 is wrong", "tok-7"), "the key **** is wrong")
  })
})
