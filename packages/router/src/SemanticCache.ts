/**
 * A cache of answers to questions that mean the same. It asks for the embedding of the last question, and gives the answer of the nearest one
 * that was asked before.
 *
 * Everything else of the request is compared exactly: the messages before, model, tools, sampling, whether the answer is whole or streamed, and
 * the client unless the cache is `shared`. Two questions are as good as the same when the cosine of their embeddings reaches the threshold and
 * `SameMeaning` finds no difference between them. The rules of `AnswerCache` say which calls go past and which answers are kept. Calls whose last
 * message is not the user's, whose question is empty or longer than 8,000 characters, or that came in another protocol than chat go past, too.
 *
 * The search compares with every question, so it finds the nearest. It takes about 3 ms for 1,000 embeddings of 1,000 numbers, and lets
 * other calls run in between. An embedding of n numbers takes 4 n bytes; the oldest answers are dropped when the cache is full. An embedding that
 * fails or takes longer than a second is a miss: the call is made, and its answer is not kept.
 *
 * Calls at the same time share nothing here: put `AnswerCache` around it.
 *
 * `ballast_semantic_lookups_total` counts calls that asked for the embedding of their question, by `result`: `hit`; `refused`, where only `SameMeaning` was in the way; `near_miss`, where the
 * cosine was short of the threshold by at most 0.05; `miss`; and `unavailable`, where there was no embedding.
 *
 * @since 0.1.0
 */
import type { ChatChunk } from "@ballast/chat/ChatChunk"
import type { ChatCompletion } from "@ballast/chat/ChatCompletion"
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as WireText from "@ballast/chat/WireText"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type * as AnswerCache from "./AnswerCache.ts"
import * as AnswerStore from "./AnswerStore.ts"
import * as CallContext from "./CallContext.ts"
import * as answers from "./internal/answers.ts"
import * as evaluation from "./internal/evaluation.ts"
import * as pairs from "./internal/pairs.ts"
import * as questions from "./internal/questions.ts"
import * as vectors from "./internal/vectors.ts"
import * as RouteInfo from "./RouteInfo.ts"
import * as SameMeaning from "./SameMeaning.ts"

export type { Errors, Evaluation, Pair } from "./internal/evaluation.ts"

/**
 * What may change while calls run.
 *
 * @category options
 * @since 0.1.0
 */
export interface Settings extends Pick<AnswerCache.Settings, "timeToLive" | "maxSize" | "maxTemperature" | "shared"> {
  /** The least cosine of two questions' embeddings, above 0 and at most 1. Default 0.95. */
  readonly threshold?: number | undefined
  /** Answers that are kept in memory, 1 to 100,000. Default 10,000. */
  readonly capacity?: number | undefined
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options<out E> extends Settings {
  /** Name in metrics; of low cardinality. */
  readonly name: string
  /** The embedding of a text. All have to come from one model. */
  readonly embed: (text: string) => Effect.Effect<ReadonlyArray<number>, E>
}

/**
 * What is used where `Options` say nothing.
 *
 * @category options
 * @since 0.1.0
 */
export const defaults = { threshold: 0.95, capacity: 10_000 } as const

const most = 100_000

/**
 * The embedding of a text can not be had now.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoEmbedding extends Schema.TaggedError<NoEmbedding>()("NoEmbedding", { detail: Schema.String }) {
  override get message() {
    return `There is no embedding of the question: ${this.detail}`
  }
}

/**
 * A question that the cache has the answer of, as seen from another.
 *
 * @category models
 * @since 0.1.0
 */
export interface Nearest {
  readonly question: string
  /** Whom its answer was for; `*` for all. */
  readonly client: string
  readonly hash: string
  /** In milliseconds. */
  readonly age: number
  readonly similarity: number
  readonly differences: ReadonlyArray<SameMeaning.Difference>
  /** Whether its answer would be given to a request that is the same but for the question. */
  readonly served: boolean
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Explanation {
  readonly threshold: number
  /** Answers that it was compared with. */
  readonly compared: number
  /** The nearest first. */
  readonly nearest: ReadonlyArray<Nearest>
}

/**
 * @category models
 * @since 0.1.0
 */
export interface SemanticCache {
  /** Puts the cache around a model. */
  readonly through: <E>(model: ChatModel<E>) => ChatModel<E>
  /** What it has for a call. Asks for no embedding where there is no answer to compare with. */
  readonly lookup: AnswerCache.Lookup
  /** Drops answers; gives how many there were. An answer under way is not kept. */
  readonly purge: (purge: AnswerCache.Purge) => Effect.Effect<number>
  readonly update: (settings: Settings) => Effect.Effect<void>
  /** The answers that are nearest to a question, of one client or of all, and whether each would be given. Compares with all. */
  readonly explain: (
    question: string,
    options: { readonly client?: string | undefined; readonly limit: number }
  ) => Effect.Effect<Explanation, NoEmbedding>
  /** Tries thresholds out on pairs of questions; by default on some in English and Chinese. */
  readonly evaluate: (pairs?: ReadonlyArray<evaluation.Pair>) => Effect.Effect<evaluation.Evaluation, NoEmbedding>
  /** How many answers it has. */
  readonly size: Effect.Effect<number>
}

/** An answer with its question. */
interface Entry {
  readonly key: AnswerStore.Key
  /** The client who asked for it first. */
  readonly asker: string
  readonly rest: string
  readonly question: string
  readonly meaning: SameMeaning.Meaning
  readonly vector: Float32Array
  readonly at: number
  readonly from: RouteInfo.Cached["from"]
  readonly answer: Answer
}

type Answer = ChatCompletion | ReadonlyArray<ChatChunk>

interface Call extends questions.Question {
  readonly use: answers.Use
  readonly key: AnswerStore.Key
  readonly client: string
  readonly info: RouteInfo.RouteInfo
  /** How often answers had been purged when it began. */
  readonly purges: number
}

interface Asked extends Call {
  readonly meaning: SameMeaning.Meaning
  readonly vector: Float32Array
}

const resolve = ({ capacity = defaults.capacity, threshold = defaults.threshold, ...rest }: Settings) => {
  if (!(Number.isInteger(capacity) && capacity >= 1 && capacity <= most)) {
    throw new RangeError(`SemanticCache.make: capacity must be a whole number from 1 to ${most}, got ${capacity}`)
  }
  if (!(threshold > 0 && threshold <= 1)) {
    throw new RangeError(`SemanticCache.make: threshold must be above 0 and at most 1, got ${threshold}`)
  }
  return { ...answers.resolve("SemanticCache", rest), capacity, threshold }
}

const patience = "1 second"

/** By so much the cosine of a vector and itself may miss 1. */
const rounding = 1e-6

/** What is short of the threshold by at most so much is a near miss. */
const close = 0.05

type Result = "hit" | "refused" | "near_miss" | "miss" | "unavailable"

const lookups = Metric.counter("ballast_semantic_lookups_total", {
  description: "Calls that asked a cache by meaning, by what it had for them.",
  incremental: true
})

const counting = (name: string) => {
  const of = (result: Result) => Metric.withAttributes(lookups, { name, result })
  const metrics: Readonly<Record<Result, typeof lookups>> = {
    hit: of("hit"),
    refused: of("refused"),
    near_miss: of("near_miss"),
    miss: of("miss"),
    unavailable: of("unavailable")
  }
  return (result: Result): Effect.Effect<void> => Metric.update(metrics[result], 1)
}

/** Embeddings that are compared at a stretch. */
const stretch = 500

/**
 * Creates a cache of answers by meaning. Dies of a `RangeError` when an option is out of its bounds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E>({ embed, name, ...options }: Options<E>): Effect.Effect<SemanticCache> =>
  Effect.sync(() => {
    let settings = resolve(options)
    const count = counting(name)
    let purges = 0
    /** By age, the oldest first. */
    const entries = new Set<Entry>()
    /** By all but the question, then by the question. */
    const groups = new Map<string, Map<string, Entry>>()

    const drop = (entry: Entry): void => {
      entries.delete(entry)
      const group = groups.get(entry.rest)
      if (group?.get(entry.question) === entry) group.delete(entry.question)
      if (group?.size === 0) groups.delete(entry.rest)
    }
    const trim = (now: number): void => {
      for (const entry of entries) {
        if (entries.size <= settings.capacity && entry.at + settings.timeToLive > now) break
        drop(entry)
      }
    }
    const keep = (asked: Asked, answer: Answer, size: number, complete: boolean): Effect.Effect<void> =>
      Effect.map(Clock.currentTimeMillis, (at) => {
        if (!complete || size > settings.maxSize || settings.timeToLive <= 0 || asked.purges !== purges) return
        const { client: asker, info, key, meaning, question, rest, vector } = asked
        const group = groups.get(rest) ?? new Map<string, Entry>()
        const old = group.get(question)
        if (old !== undefined) drop(old)
        const entry = { key, asker, rest, question, meaning, vector, at, from: answers.answeredBy(info), answer }
        entries.add(entry)
        groups.set(rest, group.set(question, entry))
        trim(at)
      })

    const begin = (
      fiber: Fiber.Fiber<unknown, unknown>,
      request: ChatRequest,
      form: answers.Form
    ): Call | undefined => {
      const { client, headers } = fiber.getRef(CallContext.Current)
      const info = answers.recordOf(fiber)
      const use = answers.useOf(request, headers["cache-control"], settings.maxTemperature)
      const question = use === "bypass" ? undefined : questions.of(request, form)
      info.cache = { state: question === undefined ? "bypass" : "miss" }
      if (question === undefined) return undefined
      const key = answers.keyOf(request, form, client.name, settings.shared)
      const rest = [key.client, key.model, question.rest].join("\n")
      return { ...question, rest, use, key, client: client.name, info, purges }
    }
    const vectorOf = (text: string): Effect.Effect<Float32Array, NoEmbedding> =>
      Effect.suspend(() => embed(text)).pipe(
        Effect.timeout(patience),
        Effect.mapError((error) => new NoEmbedding({ detail: error instanceof Error ? error.message : String(error) })),
        Effect.flatMap((numbers) => {
          const vector = vectors.normal(numbers)
          return vector === undefined
            ? Effect.fail(new NoEmbedding({ detail: "the model gave none" }))
            : Effect.succeed(vector)
        })
      )
    const ask = (call: Call): Effect.Effect<Asked | undefined> =>
      vectorOf(call.question).pipe(
        Effect.map((vector) => ({ ...call, vector, meaning: SameMeaning.of(call.question) })),
        Effect.catch((error) => Effect.as(Effect.logDebug("a question has no embedding", error), undefined))
      )
    const nearest = Effect.fnUntraced(function*({ meaning, rest, use, vector }: Asked) {
      let found: { readonly entry: Entry; readonly similarity: number } | undefined
      let result: Result = "miss"
      if (use === "refresh") return { found, result }
      const now = yield* Clock.currentTimeMillis
      trim(now)
      let compared = 0
      for (const entry of groups.get(rest)?.values() ?? []) {
        if (++compared % stretch === 0) yield* Effect.yieldNow
        const similarity = vectors.cosine(vector, entry.vector)
        if (similarity + rounding < settings.threshold) {
          if (result === "miss" && similarity + close >= settings.threshold) result = "near_miss"
          continue
        }
        if (similarity <= (found?.similarity ?? 0)) continue
        if (SameMeaning.differences(meaning, entry.meaning).length === 0) found = { entry, similarity }
        else result = "refused"
      }
      return { found, result: found === undefined ? result : "hit" as const }
    })
    /** The answer to a question that means the same, if there is one. */
    const find = Effect.fnUntraced(function*(asked: Asked) {
      const { found, result } = yield* nearest(asked)
      yield* count(result)
      // It may have been dropped meanwhile.
      if (found === undefined || !entries.has(found.entry)) return undefined
      const { entry, similarity } = found
      const { at, from, key: { hash }, question } = entry
      const age = Math.max(0, (yield* Clock.currentTimeMillis) - at)
      asked.info.cache = { state: "hit", age, from, near: { similarity, hash, question } }
      return entry.answer
    })
    const lookup = Effect.fnUntraced(function*(call: Call) {
      const asked = yield* ask(call)
      if (asked === undefined) yield* count("unavailable")
      return { asked, answer: asked && (yield* find(asked)) }
    })

    const cached = (request: ChatRequest, form: answers.Form): Effect.Effect<Answer | undefined> =>
      Effect.withFiber((fiber) => {
        const call = begin(fiber, request, form)
        return call?.use === "use" && groups.has(call.rest)
          ? Effect.map(lookup(call), ({ answer }) => answer)
          : Effect.undefined
      })

    const cache: SemanticCache = {
      lookup: {
        complete: (request) =>
          Effect.map(cached(request, "whole"), (answer) => answer && "choices" in answer ? answer : undefined),
        stream: (request) =>
          Effect.map(
            cached(request, "stream"),
            (answer) => answer && !("choices" in answer) ? Stream.fromIterable(answer) : undefined
          )
      },
      through: (model) => ({
        complete: (request) =>
          Effect.withFiber((fiber) => {
            const call = begin(fiber, request, "whole")
            if (call === undefined) return model.complete(request)
            return Effect.flatMap(lookup(call), ({ answer, asked }) => {
              if (answer !== undefined && "choices" in answer) return Effect.succeed(answer)
              return Effect.tap(
                Effect.provideService(model.complete(request), RouteInfo.Current, call.info),
                (completion) =>
                  asked === undefined
                    ? Effect.void
                    : keep(asked, completion, sizeOf([completion]), answers.isComplete(completion.choices))
              )
            })
          }),
        stream: (request) =>
          Stream.unwrap(Effect.withFiber((fiber) => {
            const call = begin(fiber, request, "stream")
            if (call === undefined) return Effect.succeed(model.stream(request))
            return Effect.map(lookup(call), ({ answer, asked }) => {
              if (answer !== undefined && !("choices" in answer)) return Stream.fromIterable(answer)
              const stream = Stream.provideService(model.stream(request), RouteInfo.Current, call.info)
              return asked === undefined ?
                stream :
                kept(stream, (chunks, complete) => keep(asked, chunks, sizeOf(chunks), complete))
            })
          }))
      }),
      purge: ({ olderThan, ...filter }) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          purges++
          const before = answers.purgedBefore(now, olderThan)
          const meant = Array.from(entries).filter(({ asker, at, key }) =>
            at <= before && answers.matches(filter, key, asker)
          )
          meant.forEach(drop)
          return meant.length
        }),
      update: (changed) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          settings = resolve(changed)
          trim(now)
        }),
      explain: Effect.fnUntraced(function*(question, { client, limit }) {
        const vector = yield* vectorOf(question)
        const meaning = SameMeaning.of(question)
        const now = yield* Clock.currentTimeMillis
        trim(now)
        const seen: Array<{ readonly entry: Entry; readonly similarity: number }> = []
        let compared = 0
        for (const entry of entries) {
          if (++compared % stretch === 0) yield* Effect.yieldNow
          if (client !== undefined && entry.key.client !== client && entry.key.client !== AnswerStore.everyone) continue
          seen.push({ entry, similarity: vectors.cosine(vector, entry.vector) })
        }
        const nearest = seen.sort((a, b) => b.similarity - a.similarity).slice(0, limit)
        return {
          threshold: settings.threshold,
          compared: seen.length,
          nearest: nearest.map(({ entry: { at, key, meaning: other, question }, similarity }): Nearest => {
            const differences = SameMeaning.differences(meaning, other)
            const served = similarity + rounding >= settings.threshold && differences.length === 0
            return { question, client: key.client, hash: key.hash, age: now - at, similarity, differences, served }
          })
        }
      }),
      evaluate: (given = pairs.all) =>
        Effect.map(
          Effect.forEach(
            given,
            (pair) =>
              Effect.zipWith(
                vectorOf(pair.a),
                vectorOf(pair.b),
                (a, b) => evaluation.judge(pair, vectors.cosine(a, b))
              ),
            { concurrency: 4 }
          ),
          (judged) => evaluation.of(judged, settings.threshold)
        ),
      size: Effect.sync(() => entries.size)
    }
    return cache
  })

const sizeOf = (parts: ReadonlyArray<object>): number =>
  parts.reduce((size, part) => size + WireText.stringify(part).length, 0)

/** Gathers the chunks of a stream that ends, up to the bound. */
const kept = <E>(
  stream: Stream.Stream<ChatChunk, E>,
  keep: (chunks: ReadonlyArray<ChatChunk>, complete: boolean) => Effect.Effect<void>
): Stream.Stream<ChatChunk, E> =>
  Stream.suspend(() => {
    const chunks: Array<ChatChunk> = []
    return Stream.map(stream, (chunk) => {
      if (chunks.length <= answers.maxItems) chunks.push(chunk)
      return chunk
    }).pipe(
      Stream.onEnd(
        Effect.suspend(() => keep(chunks, chunks.length <= answers.maxItems && answers.isCompleteStream(chunks)))
      )
    )
  })
