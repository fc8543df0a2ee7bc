/**
 * A copy of a collection of Kubernetes that follows it: list, then watch.
 *
 * A list comes in pages. A watch begins at the resource version of the list or of the last event or bookmark, so nothing between two watches
 * is missed. When the server no longer knows that version (410 Gone, as a status or as an event), the collection is listed again, and
 * what went away meanwhile is told as deleted. A watch that ends is opened again, at once if it has lived for a while, else
 * after a delay that grows up to half a minute. One that is silent is replaced after five minutes, in case its connection was lost without a
 * sign.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Metadata } from "./BallastModel.ts"
import * as metrics from "./internal/metrics.ts"
import { type KubernetesClient, KubernetesError } from "./KubernetesClient.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Item {
  readonly metadata: typeof Metadata.Type
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Informer<A> {
  /** By name. */
  readonly items: ReadonlyMap<string, A>
  /** Ends when the collection was listed for the first time. */
  readonly synced: Effect.Effect<void>
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options<A extends Item> {
  readonly client: KubernetesClient
  /** Path of the collection, of one namespace. */
  readonly path: string
  readonly labelSelector?: string | undefined
  readonly schema: Schema.Decoder<A>
  /** Called for each change, one after the other. */
  readonly onChange: (before: A | undefined, after: A | undefined) => void
}

const pageSize = "500"
const longestDelay = 30_000

const List = Schema.Struct({
  metadata: Schema.Struct({
    resourceVersion: Schema.optional(Schema.String),
    continue: Schema.optional(Schema.String)
  }),
  items: Schema.optional(Schema.NullOr(Schema.Array(Schema.Unknown)))
})
const Marked = Schema.Struct({ metadata: Schema.Struct({ resourceVersion: Schema.String }) })

const read = <A>(schema: Schema.Decoder<A>, value: unknown, request: string) =>
  Effect.mapError(
    Schema.decodeUnknownEffect(schema)(value),
    (error) => new KubernetesError({ request, status: 0, reason: "an answer of another form", detail: String(error) })
  )

/** An object that can't be read is left out, and told of: the others count. */
const decodeOne = <A>(schema: Schema.Decoder<A>, path: string, object: unknown) =>
  Schema.decodeUnknownEffect(schema)(object).pipe(
    Effect.tapError((error) => Effect.logWarning("an object can't be read", { path, reason: String(error) })),
    Effect.option
  )

/**
 * Lists a collection once, with the version that a watch can begin at.
 *
 * @category functions
 * @since 0.1.0
 */
export const list = Effect.fnUntraced(function*<A extends Item>(
  { client, labelSelector, path, schema }: Omit<Options<A>, "onChange">
) {
  const found: Array<A> = []
  let page: string | undefined
  let version: string | undefined
  do {
    const query = {
      ...(labelSelector !== undefined && { labelSelector }),
      limit: pageSize,
      ...(page !== undefined && { continue: page })
    }
    const answer = yield* read(List, yield* client.request("GET", path, { query, timeout: "1 minute" }), path)
    for (const object of answer.items ?? []) {
      const item = yield* decodeOne(schema, path, object)
      if (Option.isSome(item)) found.push(item.value)
    }
    page = answer.metadata.continue || undefined
    version = answer.metadata.resourceVersion
  } while (page !== undefined)
  return { items: found, version }
})

/**
 * Follows a collection as long as the scope lives.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*<A extends Item>(
  { onChange, ...collection }: Options<A>
): Effect.fn.Return<Informer<A>, never, Scope.Scope> {
  const { client, labelSelector, path, schema } = collection
  const items = new Map<string, A>()
  const synced = yield* Deferred.make<void>()
  let version: string | undefined
  let failures = 0

  const put = (item: A): void => {
    const before = items.get(item.metadata.name)
    if (before?.metadata.resourceVersion === item.metadata.resourceVersion) return
    items.set(item.metadata.name, item)
    onChange(before, item)
  }

  const remove = (name: string): void => {
    const before = items.get(name)
    if (items.delete(name)) onChange(before, undefined)
  }

  const relist = Effect.gen(function*() {
    const listed = yield* list(collection)
    version = listed.version
    const names = new Set(listed.items.map(({ metadata }) => metadata.name))
    for (const name of items.keys()) if (!names.has(name)) remove(name)
    for (const item of listed.items) put(item)
    yield* Deferred.succeed(synced, undefined)
  })

  const backOff = Effect.suspend(() => {
    const longest = Math.min(longestDelay, 250 * 2 ** Math.min(++failures, 10))
    return Effect.flatMap(Random.nextBetween(longest / 2, longest), (millis) => Effect.sleep(Duration.millis(millis)))
  })

  const watch = Effect.gen(function*() {
    const begun = yield* Clock.currentTimeMillis
    const seconds = yield* Random.nextIntBetween(180, 300)
    const query = {
      ...(labelSelector !== undefined && { labelSelector }),
      resourceVersion: version ?? "",
      allowWatchBookmarks: "true",
      timeoutSeconds: String(seconds)
    }
    const events = Stream.runForEach(client.watch(path, query), ({ object, type }) =>
      Effect.gen(function*() {
        version = (yield* read(Marked, object, path)).metadata.resourceVersion
        failures = 0
        if (type === "BOOKMARK") return
        const item = yield* decodeOne(schema, path, object)
        if (Option.isNone(item)) return
        if (type === "DELETED") remove(item.value.metadata.name)
        else put(item.value)
      }))
    yield* Effect.timeoutOption(events, Duration.seconds(seconds + 5))
    if ((yield* Clock.currentTimeMillis) - begun < 1000) return yield* backOff
    failures = 0
  })

  const follow = Effect.suspend(() => version === undefined ? relist : watch).pipe(
    Effect.catchTag("KubernetesError", (error) => {
      // The version may be too old, or the error one of an event: only a list is sure to help.
      if (error.status === 410 || error.status === 500) version = undefined
      return metrics.lost(path, error.status).pipe(
        Effect.andThen(Effect.logDebug("a list or watch failed", { path, reason: error.message })),
        Effect.andThen(backOff)
      )
    })
  )
  yield* Effect.forkScoped(Effect.forever(follow))
  return { items, synced: Deferred.await(synced) }
})
