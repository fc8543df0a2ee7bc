/**
 * A cache of answers around a model: the same question, asked again within a while, gets the same answer, without a call.
 *
 * The key is a hash of everything that was asked: the request's text with its model, messages, tools and sampling, in the form in which the
 * answer is given (whole or streamed), apart for each client unless the cache is `shared`. Questions that are asked at the same time share one
 * call. Only complete answers are kept: every choice ended with `stop` or `tool_calls`; a stream that broke, was cut off at `max_tokens` or is
 * too long is not. A stream is answered as a stream.
 *
 * These calls go past it: those with `cache-control: no-store`, with a `temperature` above the bound, and with a forced tool. `cache-control:
 * no-cache` asks anew, and keeps the new answer.
 *
 * What happened stands in the call's `RouteInfo`. The counts are those of `Cache` of `@ballast/resilience`.
 *
 * @since 0.1.0
 */
import type { ChatChunk } from "@ballast/chat/ChatChunk"
import * as Chunk from "@ballast/chat/ChatChunk"
import type { ChatCompletion } from "@ballast/chat/ChatCompletion"
import * as Completion from "@ballast/chat/ChatCompletion"
import * as ChatError from "@ballast/chat/ChatError"
import type { ChatModel } from "@ballast/chat/ChatModel"
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Native from "@ballast/chat/Native"
import * as WireText from "@ballast/chat/WireText"
import * as Cache from "@ballast/resilience/Cache"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { createHash } from "node:crypto"
import type * as AnswerStore from "./AnswerStore.ts"
import * as CallContext from "./CallContext.ts"
import * as RouteInfo from "./RouteInfo.ts"

/**
 * What may change while calls run.
 *
 * @category options
 * @since 0.1.0
 */
export interface Settings {
  /** How long an answer is given again, zero or more. Default 5 minutes. */
  readonly timeToLive?: Duration.Input | undefined
  /** How long after that it is given when the call fails through no fault of the caller, zero or more. Default zero. */
  readonly staleIfError?: Duration.Input | undefined
  /** Answers that are kept in memory, whole and streamed ones each, at least 1. Default 1,000. */
  readonly capacity?: number | undefined
  /** Characters of JSON up to which an answer is kept, at least 1. Default 256 Ki. Times twice the capacity, it bounds the memory. */
  readonly maxSize?: number | undefined
  /** The highest `temperature` of a question that is answered again, 0 to 2; one that is left out counts as 1. Default 1. */
  readonly maxTemperature?: number | undefined
  /** Whether clients get each other's answers. Default `false`. */
  readonly shared?: boolean | undefined
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options extends Settings {
  /** Name in metrics; of low cardinality. */
  readonly name: string
  /** Where fresh answers of chats are kept too, for other processes and after a restart. Default nowhere. */
  readonly store?: AnswerStore.AnswerStore | undefined
}

const defaults = {
  timeToLive: "5 minutes",
  staleIfError: 0,
  capacity: 1000,
  maxSize: 2 ** 18,
  maxTemperature: 1,
  shared: false
} satisfies Settings

const resolve = (given: Settings) => {
  const { capacity = defaults.capacity, shared = defaults.shared, staleIfError = defaults.staleIfError } = given
  const { maxSize = defaults.maxSize, maxTemperature = defaults.maxTemperature, timeToLive = defaults.timeToLive } =
    given
  if (!(maxSize >= 1)) throw new RangeError(`AnswerCache.make: maxSize must be at least 1, got ${maxSize}`)
  if (!(maxTemperature >= 0 && maxTemperature <= 2)) {
    throw new RangeError(`AnswerCache.make: maxTemperature must be from 0 to 2, got ${maxTemperature}`)
  }
  return { capacity, maxSize, maxTemperature, shared, staleIfError, timeToLive: Duration.toMillis(timeToLive) }
}

/** Items of a stream beside its mark, up to which it is kept. */
const maxItems = 20_000

/**
 * Which answers are purged; what is left out does not matter.
 *
 * @category options
 * @since 0.1.0
 */
export interface Purge extends AnswerStore.Filter {
  /** Only what was kept longer ago than this. In a store it does not matter: all that is meant goes there. */
  readonly olderThan?: Duration.Input | undefined
}

/**
 * @category models
 * @since 0.1.0
 */
export interface AnswerCache<in out E> {
  /** Puts the cache around a model. */
  readonly through: (model: ChatModel<E>) => ChatModel<E>
  /** Drops answers; gives how many there were in memory. */
  readonly purge: (purge: Purge) => Effect.Effect<number, AnswerStore.NotRemoved>
  readonly update: (settings: Settings) => Effect.Effect<void>
  readonly inspect: Effect.Effect<{ readonly whole: Cache.State; readonly streamed: Cache.State }>
}

/** When an answer was made, and how old it was when it came here, in milliseconds. */
interface Made {
  readonly at: number
  readonly age: number
  /** Who made it. A stream begins before that is known. */
  from?: RouteInfo.Cached["from"]
}

interface Whole extends Made {
  readonly completion: ChatCompletion
}

/** The first item of a stream that is kept says when it was made. */
type Item = { readonly made: Made } | { readonly chunk: ChatChunk }

const ends: ReadonlySet<unknown> = new Set(["stop", "tool_calls"])

const isComplete = (choices: ReadonlyArray<{ readonly finish_reason?: string | null }>): boolean =>
  choices.every(({ finish_reason }) => ends.has(finish_reason))

const chunksOf = (items: ReadonlyArray<Item>): ReadonlyArray<ChatChunk> =>
  items.flatMap((item) => "chunk" in item ? [item.chunk] : [])

/** Whether each choice of a stream that was begun has ended as a whole answer does. */
const isCompleteStream = (chunks: ReadonlyArray<ChatChunk>): boolean => {
  const finished = new Map<number, string | null | undefined>()
  for (const { choices } of chunks) {
    for (const { finish_reason, index } of choices) {
      const key = index ?? 0
      if (finish_reason != null || !finished.has(key)) finished.set(key, finish_reason)
    }
  }
  return finished.size > 0 &&
    isComplete(Array.from(finished.values(), (finish_reason) => ({ finish_reason: finish_reason ?? null })))
}

/** What a call may have of the cache. */
type Use = "use" | "refresh" | "bypass"

const useOf = (request: ChatRequest, cacheControl: string | undefined, maxTemperature: number): Use => {
  const { temperature, tool_choice } = request
  if ((temperature ?? 1) > maxTemperature) return "bypass"
  if (tool_choice === "required" || (typeof tool_choice === "object" && tool_choice !== null)) return "bypass"
  const directives = (cacheControl ?? "").toLowerCase().split(",").map((directive) => directive.trim())
  if (directives.includes("no-store")) return "bypass"
  return directives.includes("no-cache") ? "refresh" : "use"
}

/** A call on its way through the cache. */
interface Call {
  readonly request: ChatRequest
  readonly use: Use
  readonly key: string
  /** An answer in another protocol than chat is worth nothing without its own text, which a store does not keep. */
  readonly native: boolean
  /** Whether the model was asked for it. */
  asked: boolean
}

type AnyFiber = Fiber.Fiber<unknown, unknown>

const separator = "\n"
const textOf = ({ client, hash, model }: AnswerStore.Key): string => [client, model, hash].join(separator)
const keyOfText = (text: string): AnswerStore.Key => {
  const [client = "", model = "", hash = ""] = text.split(separator)
  return { client, model, hash }
}

const matches = (filter: AnswerStore.Filter, key: AnswerStore.Key): boolean =>
  (["client", "model", "hash"] as const).every((field) => filter[field] === undefined || filter[field] === key[field])

/** The name of those who share answers. No client is called so. */
const everyone = "*"

/** A failure that is no fault of the caller's. */
const isOthersFault = (error: unknown): boolean =>
  !(error instanceof ChatError.ClientError) || ChatError.isElsewhere(error)

/**
 * Creates a cache of answers.
 *
 * **Details**
 *
 * Dies of a `RangeError` when an option is out of its bounds.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*<E>(options: Options): Effect.fn.Return<AnswerCache<E>> {
  const { name, store } = options
  let settings = resolve(options)
  const left = (made: Made, size: number, complete: boolean): number =>
    complete && size <= settings.maxSize ? Math.max(0, settings.timeToLive - made.age) : 0
  const cacheSettings = () => ({
    staleIfError: settings.staleIfError,
    staleWhen: isOthersFault,
    capacity: settings.capacity
  })
  const wholes = yield* Cache.make<Whole, E>({
    name,
    ...cacheSettings(),
    timeToLive: (whole) =>
      left(whole, WireText.stringify(whole.completion).length, isComplete(whole.completion.choices))
  })
  const streams = yield* Cache.makeStream<Item, E>({
    name,
    ...cacheSettings(),
    maxItems,
    timeToLive: (items) => {
      const chunks = chunksOf(items)
      const size = chunks.reduce((size, chunk) => size + WireText.stringify(chunk).length, 0)
      const [first] = items
      return first !== undefined && "made" in first ? left(first.made, size, isCompleteStream(chunks)) : 0
    }
  })

  const keyOf = (client: string, request: ChatRequest, form: string): string => {
    const hash = createHash("sha256").update(form).update(WireText.stringify(request))
    const native = Native.of(request)
    if (native !== undefined) {
      hash.update(JSON.stringify([native.protocol, native.headers ?? {}])).update(WireText.stringify(native.body))
    }
    const owner = settings.shared ? everyone : client
    return textOf({ client: owner, model: request.model, hash: hash.digest("base64url") })
  }
  const begin = (fiber: AnyFiber, request: ChatRequest, form: "whole" | "stream"): Call => {
    const { client, headers } = fiber.getRef(CallContext.Current)
    const use = useOf(request, headers["cache-control"], settings.maxTemperature)
    const info = fiber.getRef(RouteInfo.Current)
    if (use === "bypass" && info !== undefined) info.cache = { state: use }
    const key = use === "bypass" ? "" : keyOf(client.name, request, form)
    return { request, use, key, native: Native.of(request) !== undefined, asked: false }
  }
  /** Notes what the call got: what was made for it is a miss. */
  const note = (fiber: AnyFiber, made: Made, { asked }: Call): void => {
    const info = fiber.getRef(RouteInfo.Current)
    if (info === undefined) return
    const age = Math.max(0, fiber.getRef(Clock.Clock).currentTimeMillisUnsafe() - made.at)
    info.cache = { state: age > settings.timeToLive ? "stale" : asked ? "miss" : "hit", age, from: made.from }
  }
  /** Who has answered this fiber's call. */
  const from: Effect.Effect<RouteInfo.Cached["from"]> = Effect.withFiber((fiber) => {
    const { model, provider } = fiber.getRef(RouteInfo.Current) ?? RouteInfo.make()
    return Effect.succeed(provider === undefined || model === undefined ? undefined : { provider, model })
  })
  const madeNow: Effect.Effect<Made> = Effect.map(Clock.currentTimeMillis, (at) => ({ at, age: 0 }))

  /** Keeps an answer in the store, too, if it is one that is kept. */
  const keep = (call: Call, { at }: Made, texts: ReadonlyArray<string>, complete: boolean): Effect.Effect<void> => {
    const lifetime = left({ at, age: 0 }, sizeOf(texts), complete)
    return store === undefined || call.native || lifetime === 0
      ? Effect.void
      : store.set(keyOfText(call.key), JSON.stringify({ at, texts }), Duration.millis(lifetime))
  }
  /** What the store holds of a key, unless it is too old by now. */
  const kept = (call: Call): Effect.Effect<Kept | undefined> =>
    store === undefined || call.native || call.use === "refresh" ?
      Effect.undefined :
      Effect.zipWith(store.get(keyOfText(call.key)), Clock.currentTimeMillis, (text, now) => {
        const { at, texts } = readKept(text)
        const made = { at, age: Math.max(0, now - at) }
        return left(made, sizeOf(texts), texts.length > 0) === 0 ? undefined : { ...made, texts }
      })

  const complete = (model: ChatModel<E>, call: Call): Effect.Effect<Whole, E> =>
    Effect.flatMap(kept(call), (kept) => {
      if (kept !== undefined) {
        const completion = Completion.parse(kept.texts[0] ?? "")
        if (!(completion instanceof WireText.Unreadable)) return Effect.succeed({ ...kept, completion })
      }
      call.asked = true
      return Effect.tap(
        Effect.gen(function*(): Effect.fn.Return<Whole, E> {
          const completion = yield* model.complete(call.request)
          return { ...yield* madeNow, from: yield* from, completion }
        }),
        (whole) => keep(call, whole, [WireText.stringify(whole.completion)], isComplete(whole.completion.choices))
      )
    })
  const stream = (model: ChatModel<E>, call: Call): Stream.Stream<Item, E> =>
    Stream.unwrap(Effect.map(Effect.zip(kept(call), madeNow), ([kept, made]): Stream.Stream<Item, E> => {
      if (kept !== undefined) {
        const read = Chunk.reader()
        const chunks = kept.texts.map(read)
        if (chunks.every(isRead)) return Stream.fromIterable([{ made: kept }, ...chunks.map((chunk) => ({ chunk }))])
      }
      call.asked = true
      const chunks: Array<ChatChunk> = []
      return Stream.make({ made }).pipe(
        Stream.concat(Stream.map(model.stream(call.request), (chunk) => {
          if (store !== undefined && chunks.length <= maxItems) chunks.push(chunk)
          return { chunk }
        })),
        Stream.onEnd(
          Effect.flatMap(from, (from) => {
            made.from = from
            return keep(
              call,
              made,
              chunks.map(WireText.stringify),
              chunks.length <= maxItems && isCompleteStream(chunks)
            )
          })
        )
      )
    }))

  const through = (model: ChatModel<E>): ChatModel<E> => ({
    complete: (request) =>
      Effect.withFiber((fiber) => {
        const call = begin(fiber, request, "whole")
        if (call.use === "bypass") return model.complete(request)
        return Effect.map(
          Effect.andThen(forget(wholes, call), wholes.through(complete(model, call), call.key)),
          (whole) => {
            note(fiber, whole, call)
            return whole.completion
          }
        )
      }),
    stream: (request) =>
      Stream.unwrap(Effect.withFiber((fiber) => {
        const call = begin(fiber, request, "stream")
        if (call.use === "bypass") return Effect.succeed(model.stream(request))
        const chunks = Stream.filterMap(streams.through(stream(model, call), call.key), (item) => {
          if ("chunk" in item) return Result.succeed(item.chunk)
          note(fiber, item.made, call)
          return Result.failVoid
        })
        return Effect.as(forget(streams, call), chunks)
      }))
  })
  /** A call that wants no old answer leaves none to others, either. */
  const forget = (
    cache: Pick<Cache.Controls<unknown, unknown>, "invalidate">,
    { key, use }: Call
  ): Effect.Effect<void> => use === "refresh" ? cache.invalidate(key) : Effect.void

  const purge = ({ olderThan = 0, ...filter }: Purge) =>
    Effect.gen(function*() {
      const before = (yield* Clock.currentTimeMillis) - Duration.toMillis(olderThan)
      const isMeant = (text: string, storedAt: number) => storedAt <= before && matches(filter, keyOfText(text))
      const dropped = (yield* wholes.invalidateWhere(isMeant)) + (yield* streams.invalidateWhere(isMeant))
      if (store !== undefined) yield* store.remove(filter)
      return dropped
    })

  const cache: AnswerCache<E> = {
    through,
    purge,
    update: (changed) =>
      Effect.suspend(() => {
        settings = resolve(changed)
        return Effect.andThen(wholes.update(cacheSettings()), streams.update(cacheSettings()))
      }),
    inspect: Effect.all({ whole: wholes.inspect, streamed: streams.inspect })
  }
  return cache
})

/** What a store holds of an answer. */
interface Kept extends Made {
  readonly texts: ReadonlyArray<string>
}

/** What another program has written there is no answer. */
const readKept = (text: string | undefined): Pick<Kept, "at" | "texts"> =>
  Option.getOrElse(decodeKept(text), () => ({ at: 0, texts: [] }))

const decodeKept = Schema.decodeUnknownOption(Schema.fromJsonString(
  Schema.Struct({ at: Schema.Finite, texts: Schema.Array(Schema.String) })
))

const sizeOf = (texts: ReadonlyArray<string>): number => texts.reduce((size, text) => size + text.length, 0)

const isRead = (chunk: ChatChunk | WireText.Unreadable): chunk is ChatChunk => !(chunk instanceof WireText.Unreadable)
