/**
 * Settings from one key of Redis, a YAML or JSON text. A message on a channel tells of a change; without one the key is read again at
 * intervals, so a message that is lost only delays the change.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Redis from "effect/persistence/Redis"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as duration from "./internal/duration.ts"
import { attempt, fail } from "./internal/http.ts"
import type { Content, Source, SourceError } from "./Source.ts"

/**
 * What is needed of a Redis client; the service `Redis` of Effect has it, which `NodeRedis.layer` makes from the package `redis`.
 *
 * @category models
 * @since 0.1.0
 */
export type Client = Pick<Redis.Redis["Service"], "send" | "subscribe">

/**
 * Which key of which Redis.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<R> {
  /**
   * Connects. It runs again after a failure, so that a start while Redis is down is answered from the copy on disk:
   * `Effect.map(Layer.build(NodeRedis.layer({ url })), Context.get(Redis.Redis))`, or `Redis.Redis` itself where it is provided.
   */
  readonly connect: Effect.Effect<Client, unknown, R>
  readonly key: string
  /**
   * The channel whose messages tell of a change, whatever they say. Default: the key's own, `__keyspace@0__:KEY`, which the server
   * serves with `notify-keyspace-events K$g`.
   */
  readonly channel?: string | undefined
  /** Time between two readings without a message, above zero. Default: 30 seconds. */
  readonly interval?: Duration.Input | undefined
}

/**
 * Settings from a key of Redis. A key that does not exist at the start is empty.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <R = never>(options: Options<R>): Source<Exclude<R, Scope.Scope>> => {
  const { channel = `__keyspace@0__:${options.key}`, key } = options
  const interval = duration.interval("RedisSource.make", options.interval ?? "30 seconds")
  const source = `redis ${key}`

  const open = Effect.fnUntraced(function*() {
    const owner = yield* Effect.scope
    const context = yield* Effect.context<Exclude<R, Scope.Scope>>()
    let connection: { readonly client: Client; readonly scope: Scope.Closeable } | undefined
    let last: string | null = null

    const connected = Effect.gen(function*() {
      if (connection !== undefined) return connection.client
      const scope = yield* Scope.fork(owner)
      const client = yield* options.connect.pipe(
        Scope.provide(scope),
        Effect.provideContext(context),
        Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
      )
      connection = { client, scope }
      return client
    })
    /** After a failure the next try connects again. */
    const drop = Effect.suspend(() => {
      const scope = connection?.scope
      connection = undefined
      return scope === undefined ? Effect.void : Scope.close(scope, Exit.void)
    })
    const using = <A, E, R2>(
      time: Duration.Input,
      program: (client: Client) => Effect.Effect<A, E | SourceError, R2>
    ) => Effect.tapError(attempt(source, time, Effect.flatMap(connected, program)), () => drop)
    const get = (client: Client) =>
      Effect.flatMap(
        client.send("GET", key),
        (value) =>
          value === null || typeof value === "string" ? Effect.succeed(value) : fail(source, "the key holds no text")
      )

    const wait = Effect.fnUntraced(function*(client: Client) {
      const messages = yield* client.subscribe(channel)
      while (true) {
        // What changed before the subscription has no message.
        if ((yield* get(client)) !== last) return
        yield* Effect.race(Effect.sleep(interval), Queue.take(messages))
      }
    }, Effect.scoped)
    return {
      read: Effect.map(using("5 seconds", get), (value): ReadonlyArray<Content> => {
        last = value
        return value === null ? [] : [{ _tag: "Document", name: source, text: value }]
      }),
      changed: using("Infinity", wait)
    }
  })
  return { name: source, remote: true, open }
}
