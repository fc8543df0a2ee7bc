/**
 * Server-sent events to clients: the one place where streams are written.
 *
 * A stream is one fiber that pulls from its source, writes, and waits for `drain`, so a slow reader slows the reading from the source down.
 * Nothing is sent before the first items, so a failure before them is the caller's to answer with a real status. When they take longer than
 * 15 seconds, the answer begins anyway with a ping, and whenever nothing was sent for that long another follows, so that proxies on the way
 * keep the connection; one timer serves all streams. A failure after the beginning is an event. Interrupting the fiber ends the
 * source; a stop interrupts all of them, and each says so in its last event.
 *
 * @since 0.1.0
 */
import type * as Arr from "effect/Array"
import type * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { ClientAbort } from "effect/http/HttpServerError"
import * as Pull from "effect/Pull"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ServerResponse } from "node:http"
import { Chain } from "./internal/chain.ts"

/**
 * What is used of a response of `node:http`.
 *
 * @category models
 * @since 0.1.0
 */
export type Out = Pick<ServerResponse, "write" | "destroyed" | "writableNeedDrain"> & {
  readonly writeHead: (status: number, headers: Record<string, string>) => unknown
  readonly end: (text: string) => unknown
  readonly once: (event: "drain", listener: () => void) => unknown
  readonly off: (event: "drain", listener: () => void) => unknown
  /** Set when an event stream begins. */
  isEventStream: boolean
}

/**
 * What a stream says. Texts are complete events.
 *
 * @category models
 * @since 0.1.0
 */
export interface Events<in A, in E> {
  /** The status is 200; these are further headers. Called once, when the answer begins. */
  readonly headers: () => Record<string, string>
  readonly items: (items: Arr.NonEmptyReadonlyArray<A>) => string
  readonly end: () => string
  readonly error: (cause: Cause.Cause<E>) => string
  readonly ping: string
}

/**
 * Writes streams.
 *
 * @category models
 * @since 0.1.0
 */
export interface EventStreams<out E2> {
  /**
   * Writes a stream to its end, failures after the beginning included. Fails when it fails before the beginning, and is interrupted when the
   * client goes away.
   */
  readonly write: <A, E>(
    out: Out,
    source: Stream.Stream<A, E>,
    events: Events<A, E | E2>
  ) => Effect.Effect<void, E | E2>
}

/** How long a stream may be silent. */
const silence = 15_000

/** The least time between two looks at all streams. */
const resolution = 100

const headers = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache",
  // nginx would hold small events back.
  "x-accel-buffering": "no"
}

/** A stream that is being written. */
class Writing<A, E> {
  readonly out: Out
  readonly events: Events<A, E>
  readonly clock: Clock.Clock
  readonly fiber: Fiber.Fiber<unknown, unknown>
  begun = false
  sentAt: number
  stopped: Cause.Cause<E> | undefined

  constructor(out: Out, events: Events<A, E>, clock: Clock.Clock, fiber: Fiber.Fiber<unknown, unknown>) {
    this.out = out
    this.events = events
    this.clock = clock
    this.fiber = fiber
    this.sentAt = clock.currentTimeMillisUnsafe()
  }

  /** Writing to a connection that is gone would be an error of its own; its fiber is about to be interrupted. */
  private begin(): boolean {
    if (this.out.destroyed) return false
    this.sentAt = this.clock.currentTimeMillisUnsafe()
    if (!this.begun) {
      this.begun = true
      this.out.isEventStream = true
      this.out.writeHead(200, { ...headers, ...this.events.headers() })
    }
    return true
  }

  readonly items = (items: Arr.NonEmptyReadonlyArray<A>): Effect.Effect<void> => {
    const text = this.events.items(items)
    return text === "" || !this.begin() || this.out.write(text) ? Effect.void : this.drained()
  }

  private drained(): Effect.Effect<void> {
    return Effect.callback((resume) => {
      if (!this.out.writableNeedDrain) return resume(Effect.void)
      const onDrain = () => resume(Effect.void)
      this.out.once("drain", onDrain)
      return Effect.sync(() => this.out.off("drain", onDrain))
    })
  }

  /** Not when the client has not read what was sent before. */
  ping(): void {
    if (!this.out.writableNeedDrain && this.begin()) this.out.write(this.events.ping)
  }

  end(text: string): void {
    if (this.begin()) this.out.end(text)
  }

  stop(cause: Cause.Cause<E>): void {
    this.stopped = cause
    this.fiber.interruptUnsafe()
  }
}

/** What the timer and the stop see of a stream. */
type Open<E> = Pick<Writing<never, E>, "sentAt" | "ping"> & { readonly stop: (cause: Cause.Cause<E>) => void }

/**
 * Makes a writer of streams that all end with the failure of `cut`, when that fails.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E2 = never>(
  cut: Effect.Effect<never, E2> = Effect.never
): Effect.Effect<EventStreams<E2>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.scope
    const fork = Effect.runForkWith(yield* Effect.context<never>())
    const open = new Chain<Open<E2>>()
    let stopped: Cause.Cause<E2> | undefined
    yield* Effect.forkScoped(Effect.catchCause(cut, (cause) =>
      Effect.sync(() => {
        stopped = cause
        for (const writing of open.all()) writing.stop(cause)
      })))

    /** Pings the silent streams, and again when the next may be silent, as long as there are any. */
    const watch: Effect.Effect<void> = Effect.flatMap(Clock.currentTimeMillis, (now) => {
      let next = now + silence
      for (const writing of open.all()) {
        if (writing.sentAt + silence <= now) {
          writing.ping()
          writing.sentAt = now
        }
        next = Math.min(next, writing.sentAt + silence)
      }
      if (open.size === 0) {
        watching = false
        return Effect.void
      }
      return Effect.andThen(Effect.sleep(Math.max(resolution, next - now)), watch)
    })
    let watching = false

    const add = (writing: Open<E2>): () => void => {
      const remove = open.add(writing)
      if (!watching) {
        watching = true
        Fiber.runIn(fork(watch), scope)
      }
      return remove
    }

    const write: EventStreams<E2>["write"] = <A, E>(
      out: Out,
      source: Stream.Stream<A, E>,
      events: Events<A, E | E2>
    ): Effect.Effect<void, E | E2> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.withFiber((fiber) => {
          if (stopped !== undefined) return Effect.failCause(stopped)
          const writing = new Writing<A, E | E2>(out, events, fiber.getRef(Clock.Clock), fiber)
          const remove = add(writing)
          return Effect.matchCauseEffect(restore(pump(source, writing)), {
            onSuccess: () => {
              remove()
              writing.end(events.end())
              return Effect.void
            },
            onFailure: (cause) => {
              remove()
              return failed(writing, cause)
            }
          })
        })
      )

    return { write }
  })

/** Not by `Stream.toPull`, which provides all services and takes a lock for each pull. */
const pump = <A, E, E2>(source: Stream.Stream<A, E>, writing: Writing<A, E | E2>): Effect.Effect<void, E> =>
  Effect.scopedWith((scope) =>
    Effect.flatMap(
      Channel.toPullScoped(Stream.toChannel(source), scope),
      (pull) =>
        Pull.catchDone(Effect.forever(Effect.flatMap(pull, writing.items), { disableYield: true }), () => Effect.void)
    )
  )

const failed = <A, E>(writing: Writing<A, E>, cause: Cause.Cause<E>): Effect.Effect<void, E> => {
  if (isClientGone(cause)) return Effect.failCause(cause)
  const why = writing.stopped ?? cause
  if (!writing.begun) return Effect.failCause(why)
  writing.end(writing.events.error(why))
  return Effect.void
}

/**
 * Whether the client's going away is what ended a request.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isClientGone = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) => reason.annotations.has(ClientAbort.key))
