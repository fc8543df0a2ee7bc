/** Clients that call a service for a while, each through policies of its own, under virtual time. */
import { Priority } from "@ballast/resilience"
import { Clock, Effect, Exit, Random } from "effect"
import { TestClock } from "effect/testing"
import * as Service from "./Service.ts"

/** How calls come. The same seed gives the same calls, whatever guards them. */
export interface Load {
  readonly seconds: number
  readonly clients: number
  /** Calls per second, of all clients together. */
  readonly rate: (second: number) => number
  /** What a call asks for; `random` is of [0, 1). Default: the same thing, at normal priority. */
  readonly request?: (random: number) => Service.Request
}

/** What stands between a client and the service. */
export type Guard = (
  call: Effect.Effect<string, Service.Refusal>,
  request: Service.Request
) => Effect.Effect<string, { readonly _tag: string }>

/** One call and what became of it. */
export interface Call {
  readonly request: Service.Request
  readonly at: number
  readonly millis: number
  /** The tag of its error; undefined when it was answered. */
  readonly error: string | undefined
}

export interface Result {
  readonly calls: ReadonlyArray<Call>
  readonly seen: Service.Seen
}

interface Arrival {
  readonly at: number
  readonly client: number
  readonly request: Service.Request
}

const anything: Service.Request = { key: "key", priority: "normal" }

const arrivalsOf = ({ clients, rate, request, seconds }: Load, random: Random.Random): ReadonlyArray<Arrival> => {
  const arrivals: Array<Arrival> = []
  const next = () => random.nextDoubleUnsafe()
  // Gaps are drawn evenly from zero to twice the mean: no logarithm, whose last digit is the platform's.
  for (let at = 0; at < seconds * 1_000; at += 2 * next() * 1_000 / rate(at / 1_000)) {
    arrivals.push({ at: Math.floor(at), client: Math.floor(next() * clients), request: request?.(next()) ?? anything })
  }
  return arrivals
}

const generator = (seed: string) =>
  Random.withSeed(Effect.withFiber((fiber) => Effect.succeed(fiber.getRef(Random.Random))), seed)

const tagOf = (exit: Exit.Exit<string, { readonly _tag: string }>): string | undefined =>
  Exit.isSuccess(exit)
    ? undefined
    : exit.cause.reasons.map((reason) => reason._tag === "Fail" ? reason.error._tag : reason._tag).join(" and ")

/** Seconds after the last call in which all must have ended. */
const patience = 120

// By default the clock goes on without a fiber that takes a second of real time, and a busy machine may take that.
const clock = { warningDelay: "1 hour" } as const

/** Sends the load through one guard for each client, and waits until the last call has ended. */
export const simulate = Effect.fnUntraced(
  function*(options: {
    readonly seed: string
    readonly load: Load
    readonly service: Service.Options
    readonly guard: Effect.Effect<Guard>
  }) {
    const { guard, load, seed } = options
    const arrivals = arrivalsOf(load, yield* generator(`${seed}: arrivals`))
    const service = Service.make(options.service, yield* generator(`${seed}: service`))
    const guards = yield* Effect.replicateEffect(guard, load.clients)
    const calls: Array<Call> = []

    const call = Effect.fnUntraced(function*({ at, client, request }: Arrival) {
      const send = guards[client]
      if (send === undefined) return
      const exit = yield* Effect.exit(send(service.call(request), request)).pipe(
        Effect.provideService(Priority.CurrentPriority, request.priority)
      )
      calls.push({ request, at, millis: Math.ceil((yield* Clock.currentTimeMillis) - at), error: tagOf(exit) })
    })

    yield* Effect.forkScoped(Effect.forEach(arrivals, (arrival) =>
      Effect.gen(function*() {
        const wait = arrival.at - (yield* Clock.currentTimeMillis)
        if (wait > 0) yield* Effect.sleep(wait)
        yield* Effect.forkScoped(call(arrival))
      }), { discard: true }))
    yield* TestClock.adjust(`${load.seconds + patience} seconds`)
    if (calls.length !== arrivals.length) {
      return yield* Effect.die(new Error(`${arrivals.length - calls.length} calls of "${seed}" never ended`))
    }
    return { calls, seen: service.seen() } satisfies Result
  },
  (self, { seed }) =>
    self.pipe(Random.withSeed(`${seed}: policies`), Effect.scoped, Effect.provide(TestClock.layer(clock)))
)
