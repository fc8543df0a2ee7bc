/**
 * A service under load, as a model: a number of workers, one queue in the order of arrival, and conditions that change with time.
 *
 * It works off whatever it has accepted, also for callers that have given up meanwhile: what they left behind takes its time all the
 * same. When a request ends is known when it arrives, so the model needs no fibers of its own.
 */
import { Outcome, type Priority } from "@ballast/resilience"
import { Clock, Data, Duration, Effect, type Random } from "effect"

/** What a caller asks for. */
export interface Request {
  readonly key: string
  readonly priority: Priority.Priority
}

/** How the service does at one time. */
export interface Conditions {
  /** Quantiles of the milliseconds that a request keeps a worker, ascending: `[[0.5, 20], [1, 40]]` is 0 to 20 for one half. */
  readonly work: ReadonlyArray<readonly [share: number, millis: number]>
  /** Share of the requests that fail after their work. */
  readonly failing?: number
}

export interface Options {
  /** Requests that it works on at once. */
  readonly workers: number
  /** Requests that may wait for a worker; one more is turned away. Default: no bound. */
  readonly queue?: number
  /** Milliseconds of a worker that it costs to turn a request away. Default 1. */
  readonly refusal?: number
  /** Requests that it accepts in each second of the clock; the others are told to wait for the next one. Default: no bound. */
  readonly perSecond?: number
  readonly conditions: (second: number, request: Request) => Conditions
}

export class Unavailable extends Data.TaggedError("Unavailable") {
  get [Outcome.key](): Outcome.Outcome {
    return Outcome.failure()
  }
}

export class TooManyRequests extends Data.TaggedError("TooManyRequests")<{ readonly retryAfter: Duration.Duration }> {
  get [Outcome.key](): Outcome.Outcome {
    return Outcome.failure(this)
  }
}

export type Refusal = Unavailable | TooManyRequests

/** What the service has seen. */
export interface Seen {
  readonly requests: number
  /** Requests in the busiest second. */
  readonly peak: number
  /** Requests whose answer reached a caller that still waited for it. */
  readonly answered: number
}

export interface Service {
  readonly call: (request: Request) => Effect.Effect<string, Refusal>
  readonly seen: () => Seen
}

/** A number of [0, 1) laid on the quantiles, in whole milliseconds of at least one. */
const draw = (work: Conditions["work"], random: number): number => {
  let from = 0
  let millis = 0
  for (const [share, upTo] of work) {
    if (random < share) return Math.max(1, Math.round(millis + (upTo - millis) * (random - from) / (share - from)))
    from = share
    millis = upTo
  }
  return millis
}

export const make = (options: Options, random: Random.Random): Service => {
  const { conditions, perSecond = Infinity, queue = Infinity, refusal = 1, workers } = options
  /** When each worker is free. */
  const free = Array.from({ length: workers }, () => 0)
  /** When the requests in the queue will start, ascending. */
  const starts: Array<number> = []
  const arrived = new Map<number, number>()
  let requests = 0
  let answered = 0

  /** Gives a request to the worker that is free first, and returns when it ends. */
  const occupy = (now: number, millis: number): number => {
    const at = free.indexOf(Math.min(...free))
    const start = Math.max(now, free[at] ?? 0)
    free[at] = start + millis
    if (start > now) starts.push(start)
    return start + millis
  }

  const refuse = (now: number): Effect.Effect<never, Refusal> => {
    occupy(now, refusal)
    return Effect.andThen(Effect.sleep(1), Effect.fail(new Unavailable()))
  }

  const call = (request: Request) =>
    Effect.flatMap(Clock.currentTimeMillis, (now): Effect.Effect<string, Refusal> => {
      requests++
      const second = Math.floor(now / 1_000)
      const count = (arrived.get(second) ?? 0) + 1
      arrived.set(second, count)
      if (count > perSecond) {
        const retryAfter = Duration.millis((second + 1) * 1_000 - now)
        return Effect.andThen(Effect.sleep(1), Effect.fail(new TooManyRequests({ retryAfter })))
      }
      while (starts[0] !== undefined && starts[0] <= now) starts.shift()
      if (starts.length >= queue) return refuse(now)
      const { failing = 0, work } = conditions(now / 1_000, request)
      const end = occupy(now, draw(work, random.nextDoubleUnsafe()))
      const fails = random.nextDoubleUnsafe() < failing
      return Effect.flatMap(Effect.sleep(end - now), () => {
        if (fails) return Effect.fail(new Unavailable())
        answered++
        return Effect.succeed("answer")
      })
    })

  return { call, seen: () => ({ requests, peak: Math.max(0, ...arrived.values()), answered }) }
}
