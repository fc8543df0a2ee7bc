/** What a user puts around a call to see it: metrics, or a span. */
import { Effect, Exit, Metric, Tracer } from "effect"
import { fibers } from "./fibers.ts"
import type { Side } from "./measure.ts"

const calls = {
  Success: Metric.counter("calls_total", { attributes: { outcome: "success" }, incremental: true }),
  Failure: Metric.counter("calls_total", { attributes: { outcome: "failure" }, incremental: true })
}
const durations = Metric.timer("call_milliseconds")

/** Counts the calls by their outcome, and the time that each one takes. */
const withMetrics = <A, E, R>(call: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.onExit(
    Effect.trackDuration(call, durations),
    (exit) => Metric.update(Exit.isSuccess(exit) ? calls.Success : calls.Failure, 1)
  )

const callsCounted = Effect.map(Metric.value(calls.Success), ({ count }) => count)

/** Calls with metrics. */
export const measured = <E>(lanes: number, call: () => Effect.Effect<number, E>): Side =>
  complete(() => Effect.runSync(callsCounted), fibers(lanes, () => withMetrics(call())))

let ended = 0

class CountedSpan extends Tracer.NativeSpan {
  override end(endTime: bigint, exit: Exit.Exit<unknown, unknown>): void {
    super.end(endTime, exit)
    ended++
  }
}

const tracer = Tracer.make({ span: (options) => new CountedSpan(options) })

/** Calls with a span each. */
export const traced = <E>(lanes: number, call: () => Effect.Effect<number, E>): Side =>
  complete(() => ended, fibers(lanes, () => Effect.withSpan(call(), "call"), Effect.withTracer(tracer)))

/** Fails when a side was not observed call by call. */
const complete = (observed: () => number, side: Side): Side => async (operations) => {
  const before = observed()
  const sum = await side(operations)
  const seen = observed() - before
  if (seen !== operations) throw new Error(`${seen} of ${operations} calls were observed`)
  return sum
}
