/**
 * The queue before the sessions of one version.
 *
 * A call that finds an idle session starts at once; while all are busy, calls collect, and the next idle session takes as many as fit in a batch.
 * Calls are batched if everything but the number of their rows is the same. If a batch fails, its calls run again one by one, so that the bad
 * input of one caller does not fail the others.
 *
 * A caller that leaves frees its place at once. A run goes on without its callers: a thread can't be stopped. A process is killed when all the
 * calls of its run have passed their deadlines.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import { InferenceError, type Reason } from "../InferenceError.ts"
import * as Tensor from "../Tensor.ts"
import { type Entry, fitting, join, rowsOf, split } from "./batch.ts"
import * as metrics from "./metrics.ts"
import * as ports from "./ports.ts"
import type { Failure, Wire } from "./protocol.ts"
import type * as Runner from "./runner.ts"
import * as Sessions from "./sessions.ts"
import * as wire from "./wire.ts"

type Tensors = Sessions.Tensors

export interface Options extends Omit<Sessions.Options, "name"> {
  readonly model: string
  readonly version: string
  /** Rows of a batch, and milliseconds that an idle session waits for more; undefined is no batching. */
  readonly batching: { readonly maxSize: number; readonly delay: number } | undefined
  /** Calls that may wait. */
  readonly queue: number
  /** Milliseconds for a call with its wait. */
  readonly deadline: number
  /** Bytes that the inputs of a call may have. */
  readonly maxBytes: number
}

export interface Pool extends ports.Ports {
  readonly infer: (
    inputs: Tensors,
    outputs: ReadonlyArray<string> | undefined
  ) => Effect.Effect<Tensors, InferenceError>
  readonly queued: () => number
}

const now = (fiber: Fiber.Fiber<unknown, unknown>): number =>
  Number(fiber.getRef(Clock.Clock).monotonicTimeNanosUnsafe()) / 1e6

/** What the parts of a pool share. */
interface State {
  readonly options: Options
  readonly sessions: Sessions.Sessions
  readonly metric: metrics.Meter
  readonly waiting: Set<Entry>
  /** Calls whose batch failed. */
  readonly alone: Array<Entry>
  /** What has not ended, in the order of the deadlines. */
  readonly pending: Set<Entry>
  /** The entries of the runs under way. */
  readonly running: Map<Runner.Runner, ReadonlyArray<Entry>>
  /** Open while something is pending. */
  readonly began: Latch.Latch
  /** Open while an idle session waits for more. */
  readonly delayed: Latch.Latch
}

const errorOf = ({ options: { model, version } }: State, reason: Reason, detail: string, where?: string) =>
  new InferenceError({ reason, model, version, detail, ...(where !== undefined && { where }) })

const settle = ({ pending }: State, entry: Entry, exit: Exit.Exit<Tensors, InferenceError>): void => {
  pending.delete(entry)
  if (entry.over) return
  entry.over = true
  entry.resume(exit)
}

/** The entries of the next run; none while an idle session waits for more. */
const take = ({ alone, delayed, options: { batching }, waiting }: State, delayOver: boolean): ReadonlyArray<Entry> => {
  for (let single = alone.shift(); single !== undefined; single = alone.shift()) {
    if (!single.over) return [single]
  }
  const [first] = waiting
  if (first === undefined) return []
  const batch = batching === undefined ? [first] : fitting(waiting, first, batching.maxSize)
  if (batching !== undefined && batching.delay > 0 && !delayOver && rowsOf(batch) < batching.maxSize) {
    delayed.openUnsafe()
    return []
  }
  for (const entry of batch) waiting.delete(entry)
  return batch
}

const isIdle = ({ running }: State, runner: Runner.Runner | undefined): runner is Runner.Runner =>
  runner !== undefined && runner.alive() && !running.has(runner)

/** Gives each idle session a run, as long as calls wait. */
const dispatch = (state: State, delayOver = false): void => {
  for (const { runner } of state.sessions.all) {
    if (!isIdle(state, runner)) continue
    const entries = take(state, delayOver)
    const [first] = entries
    if (first === undefined) break
    start(state, runner, entries, first.outputs)
  }
  state.metric.queued(state.waiting.size)
}

const start = (
  state: State,
  runner: Runner.Runner,
  entries: ReadonlyArray<Entry>,
  outputs: ReadonlyArray<string>
): void => {
  const feeds: Record<string, Wire> = {}
  for (const { name } of state.sessions.inputs) feeds[name] = join(entries, name)
  state.running.set(runner, entries)
  state.metric.batch(rowsOf(entries))
  runner.run(feeds, outputs, (ran) => {
    state.running.delete(runner)
    finish(state, entries, ran)
    dispatch(state)
  })
}

const finish = (state: State, entries: ReadonlyArray<Entry>, ran: Runner.Ran): void => {
  const parts = ran._tag === "Ran" ? split(entries, wire.tensorsOf(ran.outputs)) : undefined
  if (parts !== undefined) {
    for (const [index, entry] of entries.entries()) settle(state, entry, Exit.succeed(parts[index] ?? {}))
  } else if (entries.length > 1) {
    state.alone.push(...entries)
  } else {
    const detail = ran._tag === "Failed" ? ran.failure.detail : `its ${state.options.runtime} ended during the run`
    for (const entry of entries) settle(state, entry, Exit.fail(errorOf(state, "ModelFailed", detail)))
  }
}

const expire = (state: State, at: number): void => {
  const within = Duration.format(Duration.millis(state.options.deadline))
  for (const entry of state.pending) {
    if (entry.deadline > at) break
    state.waiting.delete(entry)
    settle(state, entry, Exit.fail(errorOf(state, "DeadlineExceeded", `no answer within ${within}`)))
  }
  for (const [runner, entries] of state.running) {
    if (entries.every((entry) => entry.deadline <= at)) runner.overdue()
  }
  state.metric.queued(state.waiting.size)
}

const watchDeadlines = (state: State) =>
  Effect.forever(Effect.withFiber((fiber) => {
    const [next] = state.pending
    if (next === undefined) return Effect.andThen(Effect.sync(() => state.began.closeUnsafe()), state.began.await)
    const left = Math.max(1, Math.ceil(next.deadline - now(fiber)))
    return Effect.andThen(Effect.sleep(left), Effect.sync(() => expire(state, now(fiber))))
  }))

const watchDelays = (state: State, delay: number) =>
  Effect.forever(Effect.gen(function*() {
    yield* state.delayed.await
    yield* Effect.sleep(delay)
    state.delayed.closeUnsafe()
    dispatch(state, true)
  }))

/** What is wrong with a call before it runs. */
const refuse = (state: State, inputs: Tensors, outputs: ReadonlyArray<string>): InferenceError | undefined => {
  const { options: { batching, maxBytes, queue }, sessions, waiting } = state
  const misfit = ports.checkInputs(sessions.inputs, inputs) ?? ports.checkOutputs(sessions.outputs, outputs) ??
    (batching && ports.checkRows(inputs, batching.maxSize)) ?? ports.checkBytes(inputs, maxBytes)
  if (misfit !== undefined) return errorOf(state, "InvalidInput", misfit.detail, misfit.where)
  const down = sessions.down()
  if (down !== undefined) return errorOf(state, "NotReady", `no session of it runs: ${down}`)
  const startsAtOnce = () => waiting.size === 0 && sessions.all.some(({ runner }) => isIdle(state, runner))
  return waiting.size < queue || startsAtOnce()
    ? undefined
    : errorOf(state, "Overloaded", `${queue} calls wait already`)
}

/** Puts a call into the queue. What it gives takes the call out, since its caller left. */
const enqueue = (state: State, entry: Entry): Effect.Effect<void> => {
  const { began, metric, pending, waiting } = state
  waiting.add(entry)
  pending.add(entry)
  if (pending.size === 1) began.openUnsafe()
  dispatch(state)
  return Effect.sync(() => {
    entry.over = true
    // A run under way stays known until its deadline, so that a process that never answers is killed.
    if (waiting.delete(entry)) pending.delete(entry)
    metric.queued(waiting.size)
  })
}

/** What stands for the calls that can be batched with one. */
const makeKeyOf = ({ options: { batching }, sessions }: State, allOutputs: ReadonlyArray<string>) => {
  /** Whether the shape of an input may vary beside its rows, so that not all calls can be batched. */
  const varied = sessions.inputs.some(({ shape }) => shape.includes(-1, 1))
  return (inputs: Tensors, outputs: ReadonlyArray<string>): string => {
    if (batching === undefined) return ""
    const shapes = varied ? Object.keys(inputs).sort().map((name) => inputs[name]?.shape.slice(1).join()) : []
    return [...shapes, ...(outputs === allOutputs ? [] : outputs)].join("|")
  }
}

const makeInfer = (state: State): Pool["infer"] => {
  const allOutputs = state.sessions.outputs.map(({ name }) => name)
  const keyOf = makeKeyOf(state, allOutputs)
  return (inputs, outputs = allOutputs) =>
    Effect.withFiber((fiber) => {
      const refused = refuse(state, inputs, outputs)
      if (refused !== undefined) return Effect.fail(refused)
      return Effect.callback((resume) => {
        const [first] = Object.values(inputs)
        return enqueue(state, {
          inputs,
          outputs,
          rows: (first && Tensor.rows(first)) ?? 1,
          key: keyOf(inputs, outputs),
          deadline: now(fiber) + state.options.deadline,
          resume,
          over: false
        })
      })
    })
}

/** Starts the sessions and the queue. Fails with the reason if a session does not load or verify. */
export const make = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<Pool, Failure, Scope.Scope> {
  const { batching, model, version } = options
  const metric = metrics.make(model, version, yield* Effect.context())
  const sessions = yield* Sessions.make({ ...options, name: `${model} ${version}` }, () => dispatch(state))
  const state: State = {
    options,
    sessions,
    metric,
    waiting: new Set(),
    alone: [],
    pending: new Set(),
    running: new Map(),
    began: Latch.makeUnsafe(),
    delayed: Latch.makeUnsafe()
  }
  yield* Effect.forkScoped(watchDeadlines(state))
  if (batching !== undefined && batching.delay > 0) yield* Effect.forkScoped(watchDelays(state, batching.delay))
  return {
    inputs: sessions.inputs,
    outputs: sessions.outputs,
    infer: makeInfer(state),
    queued: () => state.waiting.size + state.alone.length
  }
})
