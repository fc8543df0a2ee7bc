/**
 * Single flight: callers that want the same thing at the same time share one
 * execution.
 *
 * The first caller of a key starts the work in a fiber of its own, callers that
 * come while it is in flight wait for the same end, and each of them gets the
 * same `Exit`, a failure or a defect too. A caller that is interrupted leaves;
 * the others don't notice, even if it was the one that came first. When the last
 * one leaves, the work is interrupted, and that caller's interruption waits for
 * its finalizers. Nothing is kept once the work has ended: see `Cache` for that.
 *
 * **Gotchas**
 *
 * The work runs under the context of the first caller: its services, its span
 * as the parent, its references, but not its deadline, which bounds that caller
 * alone. So it must not need a `Scope` of the caller's, and what differs from
 * caller to caller belongs into the key.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { CurrentStop } from "./internal/bounded.ts"
import * as check from "./internal/check.ts"
import { CurrentDeadline } from "./internal/currentDeadline.ts"
import * as Events from "./internal/events.ts"
import * as Replay from "./internal/replay.ts"
import * as telemetry from "./internal/telemetry.ts"
import * as time from "./internal/time.ts"
import * as Layered from "./Layered.ts"

/**
 * A single flight for work that gives an `A` or fails with an `E`.
 *
 * **Details**
 *
 * The types belong to the instance and not to the call, because a follower gets
 * the result of somebody else's effect. Keys of `share` and of `shareStream` are
 * apart.
 *
 * @category models
 * @since 0.1.0
 */
export interface SingleFlight<in out A, in out E = never> {
  /** Runs the effect, or waits for the one that is in flight under the key. */
  readonly share: {
    (key: string): <R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
    <R>(self: Effect.Effect<A, E, R>, key: string): Effect.Effect<A, E, R>
  }
  /**
   * Runs the stream, or joins the one that is in flight under the key: a
   * follower gets every item from the first on.
   */
  readonly shareStream: {
    (key: string): <R>(self: Stream.Stream<A, E, R>) => Stream.Stream<A, E, R>
    <R>(self: Stream.Stream<A, E, R>, key: string): Stream.Stream<A, E, R>
  }
  /** Lets the next caller of the key start anew; those who wait get the end of the old work. */
  readonly forget: (key: string) => Effect.Effect<void>
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<State>
  /** What happens from the first pull on; a listener that lags 1,024 events behind loses the oldest. */
  readonly events: Stream.Stream<Event>
}

/**
 * The state of a single flight.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  /** What is in flight: how many callers wait for each key's work. */
  readonly effects: ReadonlyMap<string, number>
  /** Likewise for streams. One that is past its bound can't be joined any more and is not counted. */
  readonly streams: ReadonlyMap<string, number>
  /** Callers that share work that another one has started, or would have. */
  readonly followers: number
}

/**
 * What happens in a single flight.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  /** A caller started the work. */
  | { readonly _tag: "Started"; readonly key: string }
  /** A caller joined the work; `callers` wait for it now. */
  | { readonly _tag: "Joined"; readonly key: string; readonly callers: number }
  /** The work ended by itself while `callers` waited for it. */
  | { readonly _tag: "Ended"; readonly key: string; readonly callers: number; readonly success: boolean }
  /** The last caller left, so the work was interrupted. */
  | { readonly _tag: "Cancelled"; readonly key: string }

/**
 * Options of a single flight.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Name in metrics and span events; keep it of low cardinality. Default `"default"`. */
  readonly name?: string | undefined
  /**
   * Items of a stream up to which it can be joined, at least 1; so far it also
   * runs ahead of its slowest consumer. Default 1,000.
   */
  readonly replay?: number | undefined
}

const defaults = { name: "default", replay: 1_000 } satisfies Options

/** Work in flight, of an effect or of a stream. */
interface Flight {
  readonly key: string
  callers: number
  /** Undefined only until the first step of the work is done. */
  fiber: Fiber.Fiber<unknown, unknown> | undefined
}

interface EffectFlight<A, E> extends Flight {
  readonly result: Deferred.Deferred<A, E>
}

interface StreamFlight<A, E> extends Flight {
  readonly replay: Replay.Replay<A, E>
}

/**
 * Creates a single flight.
 *
 * **Details**
 *
 * A new caller never joins work that is being cancelled: it starts anew, maybe
 * while the finalizers of the old work still run.
 *
 * A stream is shared from its start: it can be joined until it has emitted more
 * than `replay` items, and the next caller of the key starts it anew after that.
 * Its items go to all its consumers; it waits for the slowest one when that is
 * `replay` items behind. It begins at the first pull.
 *
 * Throws a `RangeError` when an option is out of its bounds.
 *
 * **Example** (Reading a user once for all callers)
 *
 * ```ts
 * import { SingleFlight } from "@ballast/resilience"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const flight = yield* SingleFlight.make<string>({ name: "users" })
 *   const find = (id: string) => Effect.succeed(`user ${id}`).pipe(flight.share(id))
 *   return yield* Effect.all([find("1"), find("1")], { concurrency: 2 })
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, E = never>(options?: Options): Effect.Effect<SingleFlight<A, E>> => {
  const where = "SingleFlight.make"
  const name = options?.name ?? defaults.name
  const replay = check.positiveInteger(where, "replay", options?.replay ?? defaults.replay)

  const joined = telemetry.makeFlightJoined(name)
  const cancelled = telemetry.makeFlightCancelled(name)
  const waited = telemetry.makeWaited("single-flight", name)

  return Effect.sync(() => {
    const effects = new Map<string, EffectFlight<A, E>>()
    const streams = new Map<string, StreamFlight<A, E>>()
    const events = Events.make<Event>()

    /** Makes the flight of a key known and starts its work, in one step. */
    const start = <F extends Flight, A2, E2, R>(options: {
      readonly flights: Map<string, F>
      readonly flight: F
      readonly work: Effect.Effect<A2, E2, R>
      readonly context: Context.Context<R>
      readonly onEnd: (exit: Exit.Exit<A2, E2>) => void
    }): void => {
      const { context, flight, flights, onEnd, work } = options
      flights.set(flight.key, flight)
      if (events.active) events.publish({ _tag: "Started", key: flight.key })
      const fiber = Effect.runForkWith(unbounded(context))(work)
      flight.fiber = fiber
      fiber.addObserver((exit) => {
        forget(flights, flight)
        // Nobody waits for work that was cancelled, and its end has been told.
        if (events.active && flight.callers > 0) {
          events.publish({ _tag: "Ended", key: flight.key, callers: flight.callers, success: Exit.isSuccess(exit) })
        }
        onEnd(exit)
      })
    }

    const join = <F extends Flight>(flight: F, caller: Fiber.Fiber<unknown, unknown>): F => {
      flight.callers++
      joined(caller)
      if (events.active) events.publish({ _tag: "Joined", key: flight.key, callers: flight.callers })
      return flight
    }

    /** One caller less; without any, the work is cancelled and its finalizers waited for. */
    const leave = <F extends Flight>(
      flights: Map<string, F>,
      flight: F,
      caller: Fiber.Fiber<unknown, unknown>
    ): Effect.Effect<void> | undefined => {
      flight.callers--
      if (flight.callers > 0 || flight.fiber === undefined || flight.fiber.pollUnsafe() !== undefined) return undefined
      forget(flights, flight)
      cancelled(caller)
      if (events.active) events.publish({ _tag: "Cancelled", key: flight.key })
      return Fiber.interrupt(flight.fiber)
    }

    const startEffect = <R>(key: string, work: Effect.Effect<A, E, R>, context: Context.Context<R>) => {
      const flight: EffectFlight<A, E> = { key, callers: 1, fiber: undefined, result: Deferred.makeUnsafe() }
      const onEnd = (exit: Exit.Exit<A, E>) => Deferred.doneUnsafe(flight.result, exit)
      start({ flights: effects, flight, work, context, onEnd })
      return flight
    }

    const shareEffect = <R>(self: Effect.Effect<A, E, R>, key: string): Effect.Effect<A, E, R> =>
      Effect.withFiber((caller) => {
        let flight: EffectFlight<A, E> | undefined
        let since: number | undefined
        // The caller may be interrupted between any two steps, so the finalizer stands first.
        return Effect.onExitPrimitive(
          Effect.contextWith((context: Context.Context<R>) => {
            const found = effects.get(key)
            if (found === undefined) {
              flight = startEffect(key, self, context)
            } else {
              since = time.now(caller)
              flight = join(found, caller)
            }
            return Deferred.await(flight.result)
          }),
          () => {
            if (flight === undefined) return undefined
            if (since !== undefined) waited(caller, time.now(caller) - since)
            return leave(effects, flight, caller)
          }
        )
      })

    const startStream = <R>(
      flight: StreamFlight<A, E>,
      work: Stream.Stream<A, E, R>,
      context: Context.Context<R>
    ) => {
      const write = (items: ReadonlyArray<A>) => {
        const written = Replay.write(flight.replay, items)
        if (!Replay.isJoinable(flight.replay)) forget(streams, flight)
        return written
      }
      const onEnd = (exit: Exit.Exit<void, E>) => Replay.end(flight.replay, exit)
      start({ flights: streams, flight, work: Stream.runForEachArray(work, write), context, onEnd })
    }

    const shareStream = <R>(self: Stream.Stream<A, E, R>, key: string): Stream.Stream<A, E, R> =>
      Layered.stream((scope) => {
        let flight: StreamFlight<A, E> | undefined
        let reader: Replay.Reader | undefined
        const depart = Effect.withFiber((caller) => {
          if (flight === undefined || reader === undefined) return Effect.void
          Replay.leave(flight.replay, reader)
          return leave(streams, flight, caller) ?? Effect.void
        })
        const arrive = Effect.withFiber((caller) =>
          Effect.contextWith((context: Context.Context<R>) => {
            const found = streams.get(key)
            flight = found ?? { key, callers: 1, fiber: undefined, replay: Replay.make(replay) }
            // The reader comes before the work, which may emit at once.
            reader = Replay.join(flight.replay)
            if (found === undefined) startStream(flight, self, context)
            else join(found, caller)
            return Replay.read(flight.replay, reader)
          })
        )
        const next = Effect.suspend(() =>
          flight === undefined || reader === undefined ? arrive : Replay.read(flight.replay, reader)
        )
        return Effect.as(Scope.addFinalizer(scope, depart), next)
      })

    const inspect = Effect.sync((): State => {
      const callers = (flights: Iterable<Flight>) =>
        new Map(Array.from(flights, (flight) => [flight.key, flight.callers] as const))
      const all = [...effects.values(), ...streams.values()]
      return {
        effects: callers(effects.values()),
        streams: callers(streams.values()),
        followers: all.reduce((sum, flight) => sum + flight.callers - 1, 0)
      }
    })

    return {
      share: dual(2, shareEffect),
      shareStream: dual(2, shareStream),
      forget: (key) =>
        Effect.sync(() => {
          effects.delete(key)
          streams.delete(key)
        }),
      inspect,
      events: events.stream
    }
  })
}

/** The first caller's context without its deadline, which must not bound what others share. */
const unbounded = <R>(context: Context.Context<R>): Context.Context<R> =>
  context.pipe(Context.add(CurrentDeadline, Infinity), Context.add(CurrentStop, undefined))

const forget = <F extends Flight>(flights: Map<string, F>, flight: F): void => {
  if (flights.get(flight.key) === flight) flights.delete(flight.key)
}

/**
 * Creates a single flight that shares nothing: every caller's work runs.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noop = <A, E = never>(): SingleFlight<A, E> => ({
  share: dual(2, <R>(self: Effect.Effect<A, E, R>, _key: string): Effect.Effect<A, E, R> => self),
  shareStream: dual(2, <R>(self: Stream.Stream<A, E, R>, _key: string): Stream.Stream<A, E, R> => self),
  forget: () => Effect.void,
  inspect: Effect.sync(() => ({ effects: new Map(), streams: new Map(), followers: 0 })),
  events: Stream.empty
})
