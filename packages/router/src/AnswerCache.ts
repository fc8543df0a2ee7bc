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
 * Beside an answer stands who was the first to ask, by whom it can be purged where it is shared. Of those who share a call, who made it accounts for
 * it (`miss`), or another when that one has left before its end; for all others it is a `hit`.
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
import * as Layered from "@ballast/resilience/Layered"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type * as AnswerStore from "./AnswerStore.ts"
import * as CallContext from "./CallContext.ts"
import * as answers from "./internal/answers.ts"
import * as RouteInfo from "./RouteInfo.ts"

/**
 * What may change while calls run.
 *
 * @category options
 * @since 0.1.0
 */
export interface Settings {
  /** How long an answer is given again, zero or more; infinity for no bound. Default 5 minutes. */
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
 * How many answers a purge dropped.
 *
 * @category models
 * @since 0.1.0
 */
export interface Purged {
  readonly memory: number
  /** Those in the store; undefined without one. */
  readonly store: number | undefined
}

/**
 * Looks for fresh answers without asking a model: undefined where there is none.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lookup {
  readonly complete: (request: ChatRequest) => Effect.Effect<ChatCompletion | undefined>
  readonly stream: (request: ChatRequest) => Effect.Effect<Stream.Stream<ChatChunk> | undefined>
}

/**
 * @category models
 * @since 0.1.0
 */
export interface AnswerCache<in out E> {
  /** Puts the cache around a model. */
  readonly through: (model: ChatModel<E>) => ChatModel<E>
  /** What it has for a call. */
  readonly lookup: Lookup
  /** Drops answers. One under way goes to those who wait for it, and is not kept. */
  readonly purge: (purge: Purge) => Effect.Effect<Purged, AnswerStore.NotRemoved>
  readonly update: (settings: Settings) => Effect.Effect<void>
  readonly inspect: Effect.Effect<{ readonly whole: Cache.State; readonly streamed: Cache.State }>
}

/** When an answer was made, and how old it was when it came here, in milliseconds. A stream begins before all is known. */
interface Made {
  at: number
  age: number
  /** The client who asked for it first. */
  readonly asker: string
  /** The call to the model; undefined where the answer came from a store. */
  readonly asked?: Asked | undefined
  /** Who made it. */
  from?: RouteInfo.Cached["from"]
  /** The question that it was made for, when a cache behind this one had it for another. Such an answer is not kept here, too. */
  near?: RouteInfo.Near | undefined
}

interface Whole extends Made {
  readonly completion: ChatCompletion
}

/** The first item of a stream says when it was made. An item without a chunk would be a beginning, after which no stale answer can be given. */
interface Item {
  readonly chunk: ChatChunk
  readonly made: Made | undefined
}

const chunksOf = (items: ReadonlyArray<Item>): ReadonlyArray<ChatChunk> => items.map(({ chunk }) => chunk)

/** A call to the model, which several may share. One of them accounts for it, so that it is paid for. */
interface Asked {
  /** Where it went, as who accounts for it knows. */
  readonly info: RouteInfo.RouteInfo
  /** Whether that one has left. */
  isOrphan: boolean
}

/** A call on its way through the cache. */
interface Call {
  readonly request: ChatRequest
  readonly use: answers.Use
  readonly key: string
  readonly client: string
  /** An answer in another protocol than chat is worth nothing without its own text, which a store does not keep. */
  readonly native: boolean
  /** How often answers had been purged when it began. */
  readonly purges: number
  /** The call to the model that it accounts for. */
  asked: Asked | undefined
  /** Whether it has all that it needs to account for it. */
  isDone: boolean
}

type AnyFiber = Fiber.Fiber<unknown, unknown>

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
  let settings = answers.resolve("AnswerCache", options)
  let purges = 0
  const left = (made: Made, size: number, complete: boolean): number =>
    complete && size <= settings.maxSize && made.near === undefined ? Math.max(0, settings.timeToLive - made.age) : 0
  const cacheSettings = () => ({
    staleIfError: settings.staleIfError,
    staleWhen: isOthersFault,
    capacity: settings.capacity
  })
  const wholes = yield* Cache.make<Whole, E>({
    name,
    ...cacheSettings(),
    timeToLive: (whole) =>
      left(whole, WireText.stringify(whole.completion).length, answers.isComplete(whole.completion.choices))
  })
  const streams = yield* Cache.makeStream<Item, E>({
    name,
    ...cacheSettings(),
    maxItems: answers.maxItems,
    timeToLive: (items) => {
      const chunks = chunksOf(items)
      const size = chunks.reduce((size, chunk) => size + WireText.stringify(chunk).length, 0)
      const made = items[0]?.made
      return made === undefined ? 0 : left(made, size, answers.isCompleteStream(chunks))
    }
  })

  const begin = (fiber: AnyFiber, request: ChatRequest, form: answers.Form): Call => {
    const { client, headers } = fiber.getRef(CallContext.Current)
    const use = answers.useOf(request, headers["cache-control"], settings.maxTemperature)
    const info = fiber.getRef(RouteInfo.Current)
    if (use === "bypass" && info !== undefined) info.cache = { state: use }
    const key = use === "bypass" ? "" : answers.textOfKey(answers.keyOf(request, form, client.name, settings.shared))
    const native = Native.of(request) !== undefined
    return { request, use, key, client: client.name, native, purges, asked: undefined, isDone: false }
  }
  /** Accounts for a call to the model that is shared, when who made it has left. */
  const takeOver = (fiber: AnyFiber, { asked }: Made, call: Call): boolean => {
    if (call.asked !== undefined || asked?.isOrphan !== true) return false
    asked.isOrphan = false
    call.asked = asked
    Object.assign(fiber.getRef(RouteInfo.Current) ?? {}, asked.info)
    return true
  }
  const leave = (call: Call): Effect.Effect<void> =>
    Effect.sync(() => {
      if (call.asked !== undefined && !call.isDone) call.asked.isOrphan = true
    })
  /** Notes what the call got: what it accounts for is a miss. */
  const note = (fiber: AnyFiber, made: Made, { asked }: Call): void => {
    const info = fiber.getRef(RouteInfo.Current)
    if (info === undefined) return
    const age = Math.max(0, fiber.getRef(Clock.Clock).currentTimeMillisUnsafe() - made.at)
    const fresh = asked !== undefined && made.near === undefined ? "miss" : "hit"
    info.cache = { state: age > settings.timeToLive ? "stale" : fresh, age, from: made.from, near: made.near }
  }
  /** Keeps an answer in the store, too, if it is one that is kept. */
  const keep = (
    call: Call,
    { at, from, near }: Made,
    texts: ReadonlyArray<string>,
    complete: boolean
  ): Effect.Effect<void> => {
    const { client: asker } = call
    const lifetime = left({ at, age: 0, near, asker }, sizeOf(texts), complete)
    return store === undefined || call.native || call.purges !== purges || lifetime === 0
      ? Effect.void
      : store.set(
        answers.keyOfText(call.key),
        { asker, text: JSON.stringify({ at, from, texts }) },
        Duration.millis(lifetime)
      )
  }
  /** What the store holds of a key, unless it is too old by now. */
  const kept = (call: Call): Effect.Effect<Kept | undefined> =>
    store === undefined || call.native || call.use === "refresh" ?
      Effect.undefined :
      Effect.zipWith(store.get(answers.keyOfText(call.key)), Clock.currentTimeMillis, (found, now) => {
        const { at, from, texts } = readKept(found?.text)
        const made = { at, age: Math.max(0, now - at), asker: found?.asker ?? call.client, from }
        return left(made, sizeOf(texts), texts.length > 0) === 0 ? undefined : { ...made, texts }
      })

  const keptWhole = (call: Call): Effect.Effect<Whole | undefined> =>
    Effect.map(kept(call), (kept) => {
      if (kept === undefined) return undefined
      const completion = Completion.parse(kept.texts[0] ?? "")
      return completion instanceof WireText.Unreadable ? undefined : { ...kept, completion }
    })
  const keptStream = (call: Call): Effect.Effect<ReadonlyArray<Item> | undefined> =>
    Effect.map(kept(call), (kept) => {
      const chunks = kept?.texts.map(Chunk.reader())
      return chunks?.every(isRead) === true
        ? chunks.map((chunk, index) => ({ chunk, made: index === 0 ? kept : undefined }))
        : undefined
    })

  const complete = (model: ChatModel<E>, call: Call): Effect.Effect<Whole, E> =>
    Effect.flatMap(keptWhole(call), (kept) => {
      if (kept !== undefined) return Effect.succeed(kept)
      return Effect.tap(
        Effect.withFiber((fiber) => {
          const info = answers.recordOf(fiber)
          const asked = call.asked = { info, isOrphan: false }
          return Effect.zipWith(
            Effect.provideService(model.complete(call.request), RouteInfo.Current, info),
            Clock.currentTimeMillis,
            (completion, now): Whole => ({ ...madeOf(info, now, call.client), asked, completion })
          )
        }),
        (whole) =>
          keep(call, whole, [WireText.stringify(whole.completion)], answers.isComplete(whole.completion.choices))
      )
    })
  const stream = (model: ChatModel<E>, call: Call): Stream.Stream<Item, E> =>
    Layered.unwrap(
      Effect.withFiber((fiber) =>
        Effect.map(Effect.zip(keptStream(call), Clock.currentTimeMillis), ([kept, begun]): Stream.Stream<Item, E> => {
          if (kept !== undefined) return Stream.fromIterable(kept)
          const info = answers.recordOf(fiber)
          const asked = call.asked = { info, isOrphan: false }
          const asker = call.client
          const made: Made = { at: begun, age: 0, asker, asked }
          const chunks: Array<ChatChunk> = []
          let isFirst = true
          return Stream.provideService(model.stream(call.request), RouteInfo.Current, info).pipe(
            Stream.map((chunk) => {
              // Who waits reads it with the first chunk.
              if (isFirst) Object.assign(made, madeOf(info, begun, asker))
              if (store !== undefined && chunks.length <= answers.maxItems) {
                chunks.push(chunk)
              }
              const item: Item = { chunk, made: isFirst ? made : undefined }
              isFirst = false
              return item
            }),
            Stream.onEnd(Effect.suspend(() => {
              Object.assign(made, { from: madeOf(info, begun, asker).from })
              const complete = chunks.length <= answers.maxItems && answers.isCompleteStream(chunks)
              return keep(call, made, chunks.map(WireText.stringify), complete)
            }))
          )
        })
      )
    )

  /** What memory has of a call. One that wants no old answer leaves none to others, either. */
  const held = <A>(
    { get, invalidate }: Pick<Cache.Controls<A, unknown>, "get" | "invalidate">,
    { key, use }: Call
  ): Effect.Effect<Option.Option<A>> => use === "use" ? get(key) : Effect.as(invalidate(key), Option.none())

  const through = (model: ChatModel<E>): ChatModel<E> => ({
    complete: (request) =>
      Effect.withFiber((fiber) => {
        const call = begin(fiber, request, "whole")
        if (call.use === "bypass") return model.complete(request)
        const answered = (whole: Whole): ChatCompletion => {
          takeOver(fiber, whole, call)
          note(fiber, whole, call)
          return whole.completion
        }
        return Effect.flatMap(held(wholes, call), (found) => {
          if (Option.isSome(found)) return Effect.succeed(answered(found.value))
          const asked = wholes.through(complete(model, call), call.key)
          return Effect.map(Effect.onInterrupt(asked, () => leave(call)), answered)
        })
      }),
    stream: (request) =>
      Layered.unwrap(Effect.withFiber((fiber) => {
        const call = begin(fiber, request, "stream")
        if (call.use === "bypass") return Effect.succeed(model.stream(request))
        let first: Made | undefined
        const begun = (made: Made) => note(fiber, first = made, call)
        const end = () => {
          if (first !== undefined && takeOver(fiber, first, call)) note(fiber, first, call)
          call.isDone = true
        }
        return Effect.map(held(streams, call), (found): Stream.Stream<ChatChunk, E> => {
          if (Option.isSome(found)) {
            const made = found.value[0]?.made
            if (made !== undefined) begun(made)
            end()
            return Stream.fromIterable(chunksOf(found.value))
          }
          return streams.through(stream(model, call), call.key).pipe(
            Stream.map(({ chunk, made }) => {
              if (made !== undefined) begun(made)
              if (chunk.usage != null) end()
              return chunk
            }),
            Stream.onEnd(Effect.sync(end)),
            Stream.ensuring(leave(call))
          )
        })
      }))
  })

  const purge = ({ olderThan, ...filter }: Purge) =>
    Effect.gen(function*() {
      purges++
      const before = answers.purgedBefore(yield* Clock.currentTimeMillis, olderThan)
      const isMeant = (text: string, storedAt: number, made: Made | undefined) =>
        storedAt <= before && answers.matches(filter, answers.keyOfText(text), made?.asker)
      const memory = (yield* wholes.invalidateWhere(isMeant)) +
        (yield* streams.invalidateWhere((text, storedAt, items) => isMeant(text, storedAt, items?.[0]?.made)))
      return { memory, store: store && (yield* store.remove(filter)) }
    })

  /** What memory has of a call, or else the store. */
  const find = <A>(
    fiber: AnyFiber,
    call: Call,
    { get }: Pick<Cache.Controls<A, unknown>, "get">,
    kept: (call: Call) => Effect.Effect<A | undefined>,
    madeOf: (found: A) => Made | undefined
  ): Effect.Effect<A | undefined> =>
    call.use === "use"
      ? get(call.key).pipe(
        Effect.flatMap((held) => Option.isSome(held) ? Effect.succeed(held.value) : kept(call)),
        Effect.tap((found) =>
          Effect.sync(() => {
            const made = found && madeOf(found)
            if (made !== undefined) note(fiber, made, call)
          })
        )
      )
      : Effect.undefined
  const lookup: Lookup = {
    complete: (request) =>
      Effect.withFiber((fiber) =>
        Effect.map(
          find(fiber, begin(fiber, request, "whole"), wholes, keptWhole, (whole) => whole),
          (whole) => whole?.completion
        )
      ),
    stream: (request) =>
      Effect.withFiber((fiber) =>
        Effect.map(
          find(fiber, begin(fiber, request, "stream"), streams, keptStream, ([first]) => first?.made),
          (items) => items && Stream.fromIterable(chunksOf(items))
        )
      )
  }

  const cache: AnswerCache<E> = {
    through,
    lookup,
    purge,
    update: (changed) =>
      Effect.suspend(() => {
        settings = answers.resolve("AnswerCache", changed)
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
const readKept = (text: string | undefined): Pick<Kept, "at" | "from" | "texts"> =>
  Option.getOrElse(decodeKept(text), () => ({ at: 0, texts: [] }))

const decodeKept = Schema.decodeUnknownOption(Schema.fromJsonString(
  Schema.Struct({
    at: Schema.Finite,
    from: Schema.optional(Schema.Struct({ provider: Schema.String, model: Schema.String })),
    texts: Schema.Array(Schema.String)
  })
))

const sizeOf = (texts: ReadonlyArray<string>): number => texts.reduce((size, text) => size + text.length, 0)

/** What the record of a call that was asked `now` says of its answer. */
const madeOf = (info: RouteInfo.RouteInfo, now: number, asker: string): Made => {
  const { age = 0, from, near } = info.cache ?? { state: "miss" }
  return near === undefined
    ? { at: now, age: 0, asker, from: answers.answeredBy(info) }
    : { at: now - age, age, asker, from, near }
}

const isRead = (chunk: ChatChunk | WireText.Unreadable): chunk is ChatChunk => !(chunk instanceof WireText.Unreadable)
