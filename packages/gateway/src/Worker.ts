/**
 * One of several processes behind the port of one gateway, and its side of the channel to the primary (`Workers`).
 *
 * It listens nowhere: the primary hands it connections, which it serves to their end. It answers the primary's questions about itself, and
 * asks the primary what concerns all: metrics, and what an operator sees and does. Signals are the primary's; a worker stops when the
 * primary says so, or is gone. Then it lets its running requests end.
 *
 * @since 0.1.0
 */
import type * as Share from "@ballast/resilience/Share"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import cluster from "node:cluster"
import type * as Http from "node:http"
import type { Socket } from "node:net"
import { hostname } from "node:os"
import type * as Admin from "./Admin.ts"
import * as AdminApi from "./AdminApi.ts"
import * as messages from "./internal/workerMessages.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Worker {
  /** Its number, from 1. */
  readonly number: number
  /** Its part of limits that all workers keep together. */
  readonly share: Share.Share
  /** How many workers are ready, of how many. */
  readonly state: () => messages.State
  /** How long the gateway has been stopping. */
  readonly stoppingFor: () => Duration.Duration
  /** Lets a server take the connections that the primary hands over, in place of listening itself. */
  readonly receive: (server: Http.Server) => void
  /** Tells the primary that connections may come. */
  readonly ready: Effect.Effect<void>
  /** Ends when the primary says so, or is gone. */
  readonly stopped: Effect.Effect<void>
  /** Takes what an operator asked of all workers: reads the settings again. Each ends one wait. */
  readonly reload: Effect.Effect<void>
  /** The metrics of all workers as one page; `own` are this one's. */
  readonly metrics: (
    own: (page: messages.Page) => Effect.Effect<string>
  ) => Effect.Effect<(page: messages.Page) => Effect.Effect<string>, never, Scope.Scope>
  /** What an operator sees of all workers and does to them; `own` is this one alone. */
  readonly admin: (own: Admin.Admin) => Effect.Effect<Admin.Admin, never, Scope.Scope>
}

/** The variable that the primary tells a worker its number with: `1/4`. */
export const variable = "BALLAST_WORKER"

/** None outside of a worker; `pm2` and others have workers of their own. */
const shareOf = Config.option(Config.String(variable)).pipe(Config.map((text): Share.Share | undefined => {
  const match = /^(\d+)\/(\d+)$/.exec(Option.getOrElse(text, () => ""))
  return match === null || !cluster.isWorker ? undefined : { index: Number(match[1]) - 1, of: Number(match[2]) }
}))

/** Attributes with an id that is this worker's own; an id that is given for the gateway goes before its number. */
const withInstance = (given: string, number: number): string => {
  const attributes = given.split(",").filter((one) => one.trim() !== "")
  const isId = (one: string) => one.trim().startsWith("service.instance.id=")
  const id = attributes.find(isId)?.split("=")[1]?.trim() ?? encodeURIComponent(`${hostname()}-${process.ppid}`)
  return [...attributes.filter((one) => !isId(one)), `service.instance.id=${id}-${number}`].join(",")
}

/**
 * Lets a collector tell the workers of a gateway apart, by `service.instance.id`. Does nothing in a process that is no worker.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerInstance: Layer.Layer<never, Config.ConfigError> = Layer.effect(
  ConfigProvider.ConfigProvider,
  Effect.gen(function*() {
    const before = yield* ConfigProvider.ConfigProvider
    const share = yield* shareOf
    if (share === undefined) return before
    const name = "OTEL_RESOURCE_ATTRIBUTES"
    const given = yield* Config.withDefault(Config.String(name), "")
    const own = ConfigProvider.fromEnv({ env: { [name]: withInstance(given, share.index + 1) } })
    return ConfigProvider.orElse(own, before)
  })
)

/** Longer than the primary waits for a worker. */
const patience = "10 seconds"

const ActInput = Schema.Struct({ order: AdminApi.Order, by: Schema.String, id: Schema.String })
const UndoInput = Schema.Struct({ id: Schema.String, by: Schema.String })

/** A value in the form in which it is sent, and back. */
const codecOf = <A, I>(schema: Schema.Codec<A, I>) => {
  const json = Schema.toCodecJson(schema)
  return { encode: Schema.encodeEffect(json), decode: Schema.decodeUnknownEffect(json) }
}

const codecs = {
  status: codecOf(AdminApi.Status),
  routes: codecOf(Schema.Array(AdminApi.Route)),
  accounts: codecOf(Schema.Array(AdminApi.Account)),
  acts: codecOf(Schema.Array(AdminApi.Act)),
  act: codecOf(AdminApi.Act),
  done: codecOf(AdminApi.Done),
  explainCache: codecOf(AdminApi.CacheExplanation),
  explainInput: codecOf(AdminApi.ExplainCache),
  actInput: codecOf(ActInput),
  undoInput: codecOf(UndoInput)
}

type Answering = (input: unknown) => Effect.Effect<unknown, unknown>

const failureOf = (cause: Cause.Cause<unknown>): messages.Failure => {
  const error = Cause.squash(cause)
  if (
    error instanceof AdminApi.UnknownName || error instanceof AdminApi.Refused || error instanceof AdminApi.StoreDown
  ) return error.error
  return { code: "failed", message: error instanceof Error ? error.message : String(error) }
}

const unknownName = (failure: messages.Failure): Effect.Effect<never, AdminApi.UnknownName> =>
  failure.code === "unknown_name"
    ? Effect.fail(new AdminApi.UnknownName({ error: { code: "unknown_name", message: failure.message } }))
    : Effect.die(new Error(failure.message))

const absent = (
  { code, message }: messages.Failure
): Effect.Effect<never, AdminApi.StoreDown | AdminApi.UnknownName> =>
  code === "store_unavailable"
    ? Effect.fail(new AdminApi.StoreDown({ error: { code, message } }))
    : unknownName({ code, message })

const notDone = (
  { code, message }: messages.Failure
): Effect.Effect<never, AdminApi.Refused | AdminApi.StoreDown | AdminApi.UnknownName> => {
  return code === "settings_refused"
    ? Effect.fail(new AdminApi.Refused({ error: { code, message } }))
    : absent({ code, message })
}

/** What a terminal or a service manager sends to all processes of a group is the primary's to act on. */
const leaveSignals = Effect.sync(() => {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.removeAllListeners(signal).on(signal, () => {})
})

/**
 * Joins the gateway that this process was started for; undefined when it was started by itself.
 *
 * @category constructors
 * @since 0.1.0
 */
export const join = Effect.gen(function*(): Effect.fn.Return<Worker | undefined, Config.ConfigError, Scope.Scope> {
  const share = yield* shareOf
  if (share === undefined) return undefined
  yield* leaveSignals
  const scope = yield* Effect.scope
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const clock = yield* Clock.Clock
  const stopped = yield* Deferred.make<void>()
  const reloads = yield* Queue.sliding<void>(1)
  const answering = new Map<messages.Question, Answering>()
  let state: messages.State = { ready: 0, of: share.of, stoppingSince: null }
  let server: Http.Server | undefined

  const send = (message: messages.Message): void => {
    if (process.connected) process.send?.(message)
  }
  const asking = messages.makeAsking(send)

  const take = (id: number, socket: Socket | undefined): void => {
    send({ is: "taken", id })
    if (socket === undefined) return
    // As on a connection that an HTTP server accepts itself.
    socket.allowHalfOpen = true
    if (server === undefined) socket.destroy()
    else server.emit("connection", socket)
  }

  const answer = (id: number, what: messages.Question, input: unknown): void => {
    const answered = Effect.suspend(() => answering.get(what)?.(input) ?? Effect.die("it has not started yet"))
    const told = Effect.matchCause(answered, {
      onSuccess: (value) => send({ is: "answer", id, value }),
      onFailure: (cause) => send({ is: "answer", id, failure: failureOf(cause) })
    })
    Fiber.runIn(run(told), scope)
  }

  const onMessage = (message: unknown, handle: unknown): void => {
    if (!messages.isMessage(message)) return
    switch (message.is) {
      case "connection":
        return take(message.id, handle as Socket | undefined) // what comes with such a message
      case "state":
        state = message.state
        return
      case "question":
        return answer(message.id, message.what, message.input)
      case "answer":
        return asking.take(message)
      case "reload":
        return void Queue.offerUnsafe(reloads, undefined)
      case "stop":
        return void Deferred.doneUnsafe(stopped, Effect.void)
    }
  }
  // Node ends the process at once otherwise.
  if (cluster.worker !== undefined) cluster.worker.exitedAfterDisconnect = true
  process.on("message", onMessage)
  process.once("disconnect", () => Deferred.doneUnsafe(stopped, Effect.void))
  yield* Effect.addFinalizer(() => Effect.sync(() => process.off("message", onMessage)))

  const ask = (what: messages.Question, input: unknown = null) => asking.ask(what, input, patience)
  const failed = ({ message }: messages.Failure) => Effect.die(new Error(message))

  return {
    number: share.index + 1,
    share,
    state: () => state,
    stoppingFor: () =>
      Duration.millis(state.stoppingSince === null ? 0 : clock.currentTimeMillisUnsafe() - state.stoppingSince),
    receive: (given) => {
      server = given
      const address = { address: "127.0.0.1", family: "IPv4", port: 0 }
      Object.assign(given, {
        listen: (_: unknown, listening: () => void) => {
          // `node:http` begins to watch its timeouts then.
          given.emit("listening")
          listening()
          return given
        },
        address: () => address
      })
    },
    ready: Effect.sync(() => send({ is: "ready" })),
    stopped: Deferred.await(stopped),
    reload: Queue.take(reloads),
    metrics: (own) =>
      Effect.map(Effect.context<never>(), (context) => {
        answering.set(
          "metrics",
          (page) => Effect.provideContext(own(page === "openMetrics" ? page : "prometheus"), context)
        )
        return (page) =>
          Effect.flatMap(
            Effect.catch(ask("metrics", page), failed),
            (text) => typeof text === "string" ? Effect.succeed(text) : Effect.die(new Error("the page is no text"))
          )
      }),
    admin: (own) =>
      Effect.map(Effect.context<never>(), (context) => {
        const answers: Partial<Record<messages.Question, Answering>> = {
          status: () => Effect.flatMap(own.status, codecs.status.encode),
          routes: () => Effect.flatMap(own.routes, codecs.routes.encode),
          // The balance is the same in all workers: one of them asks for it.
          accounts: (balance) => Effect.flatMap(own.accounts({ balance: balance === true }), codecs.accounts.encode),
          acts: () => Effect.flatMap(own.acts, codecs.acts.encode),
          act: (input) =>
            Effect.flatMap(codecs.actInput.decode(input), ({ by, id, order }) =>
              Effect.flatMap(own.act(order, by, id), codecs.done.encode)),
          undo: (input) =>
            Effect.flatMap(codecs.undoInput.decode(input), ({ by, id }) =>
              Effect.flatMap(own.undo(id, by), codecs.act.encode)),
          explainCache: (input) =>
            Effect.flatMap(
              codecs.explainInput.decode(input),
              (query) =>
                Effect.flatMap(own.explainCache(query), codecs.explainCache.encode)
            ),
          restore: (acts) =>
            Effect.flatMap(codecs.acts.decode(acts), own.restore)
        }
        for (const [what, answer] of Object.entries(answers)) {
          answering.set(what as messages.Question, (input) =>
            Effect.provideContext(answer(input), context)) // its keys
        }
        const seen = <A>(
          what: messages.Question,
          { decode }: { readonly decode: (value: unknown) => Effect.Effect<A, unknown> }
        ) => Effect.flatMap(Effect.catch(ask(what), failed), (value) => Effect.orDie(decode(value)))
        return {
          status: seen("status", codecs.status),
          routes: seen("routes", codecs.routes),
          accounts: () => seen("accounts", codecs.accounts),
          acts: seen("acts", codecs.acts),
          act: (order, by) =>
            Effect.orDie(codecOf(AdminApi.Order).encode(order)).pipe(
              Effect.flatMap((order) => Effect.catch(ask("act", { order, by }), notDone)),
              Effect.flatMap((done) => Effect.orDie(codecs.done.decode(done)))
            ),
          undo: (id, by) =>
            Effect.flatMap(
              Effect.catch(ask("undo", { id, by }), unknownName),
              (act) => Effect.orDie(codecs.act.decode(act))
            ),
          // Each worker has answers of its own; how near two questions are is the same in all.
          explainCache: (query) =>
            Effect.catch(ask("explainCache", query), absent).pipe(
              Effect.flatMap((value) => Effect.orDie(codecs.explainCache.decode(value)))
            ),
          evaluateCache: own.evaluateCache,
          restore: own.restore
        }
      })
  }
})
