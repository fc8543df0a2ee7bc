import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Redis, RedisError } from "effect/persistence/Redis"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"

type Service = Redis["Service"]

/** Logs when the Redis is lost, and when it is back, once each. The client itself would warn at each try. */
const makeTeller = Effect.map(Effect.context<never>(), (context) => {
  const log = Effect.runSyncWith(context)
  let isLost = false
  return {
    lost: (message: string, cause: unknown) => {
      if (isLost) return
      isLost = true
      log(Effect.logWarning(message, { reason: cause instanceof Error ? cause.message : String(cause) }))
    },
    back: () => {
      if (!isLost) return
      isLost = false
      log(Effect.logInfo("Redis is back"))
    }
  }
})

/**
 * A connection to the Redis of the settings, which is made again by itself. A Redis that is down does not stop a start: until it is there,
 * commands fail as they do when it goes later.
 */
export const connect = Effect.fnUntraced(function*(
  url: Redacted.Redacted
): Effect.fn.Return<Service, never, Scope.Scope> {
  const NodeRedis = yield* Effect.promise(() => import("@effect/platform-node/NodeRedis"))
  const scope = yield* Effect.scope
  const teller = yield* makeTeller
  // The client itself gives up when its first try fails.
  const attempt = Effect.gen(function*() {
    const own = yield* Scope.fork(scope)
    const context = yield* Layer.buildWithScope(NodeRedis.layer({ url: Redacted.value(url) }), own).pipe(
      Effect.onExit((exit) => exit._tag === "Failure" ? Scope.close(own, exit) : Effect.void),
      Effect.provideService(References.MinimumLogLevel, "None")
    )
    const { client } = Context.get(context, NodeRedis.NodeRedis)
    client.on("error", (cause) => teller.lost("Redis is lost, and tried again until it is back", cause))
    client.on("ready", teller.back)
    return Context.get(context, Redis)
  })
  const first = yield* Effect.result(attempt)
  if (first._tag === "Success") return first.success

  teller.lost("Redis can not be reached; the start goes on without it, and it is tried again", first.failure.cause)
  const connected = yield* Deferred.make<Service>()
  let client: Service | undefined
  yield* Effect.retry(attempt, Schedule.spaced("2 seconds")).pipe(
    Effect.flatMap((made) => {
      client = made
      return Deferred.succeed(connected, made)
    }),
    Effect.andThen(Effect.sync(teller.back)),
    Effect.forkScoped
  )
  const use = <A, R>(run: (client: Service) => Effect.Effect<A, RedisError, R>) =>
    Effect.suspend(() =>
      client === undefined
        ? Effect.fail(new RedisError({ cause: new Error("there is no connection yet") }))
        : run(client)
    )
  const service: Service = {
    send: (command, ...args) => use((client) => client.send(command, ...args)),
    eval: (script) => (...params) => use((client) => client.eval(script)(...params)),
    reserve: use((client) => client.reserve),
    subscribe: (channel) => Effect.flatMap(Deferred.await(connected), (client) => client.subscribe(channel))
  }
  return service
})
