/** What bounds a run, or one of its steps: tokens, money and time. A call in flight may exceed the first two, nothing begins after. */
import * as BigDecimal from "effect/BigDecimal"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Activity from "effect/workflow/Activity"
import type { WorkflowEngine, WorkflowInstance } from "effect/workflow/WorkflowEngine"
import type { Budget } from "../Definition.ts"
import * as Usage from "../Usage.ts"

export interface Bound {
  /** How deep the run is that is over when it is exceeded; undefined where none is. */
  readonly level: number | undefined
  /** Whether what took too long may be tried again. */
  readonly retryable?: boolean
  /** How messages call its budget. */
  readonly name: string
  readonly budget: Pick<Budget, "tokens" | "cost">
  /** When its time is over, in milliseconds since 1970; `Infinity` for never. */
  readonly until: number
  /** What is said then. */
  readonly late: string
  spent: Usage.Usage
}

export type Bounds = ReadonlyArray<Bound>

/** Why no call may begin, and how deep the run is that is over. */
export interface Refusal {
  readonly reason: string
  readonly over?: number
  readonly retryable: boolean
}

const short = (duration: Duration.Duration): string => Duration.format(duration)

/** When something began is recorded: its time is the same after a crash. */
const beganAt = (name: string) => Activity.make({ name, success: Schema.Finite, execute: Clock.currentTimeMillis })

/** That of a run, or of one within it, whose steps have names with a prefix. */
export const ofRun = Effect.fnUntraced(function*(
  { budget = {}, deadline }: { readonly budget?: Budget; readonly deadline?: Duration.Duration },
  prefix = "",
  level = 0
): Effect.fn.Return<Bound, never, WorkflowEngine | WorkflowInstance> {
  const times = [
    ...deadline === undefined ? [] : [{ time: deadline, late: "the deadline of the run has passed" }],
    ...budget.time === undefined
      ? []
      : [{ time: budget.time, late: `the budget of the run is used up: ${short(budget.time)}` }]
  ].sort((a, b) => Duration.toMillis(a.time) - Duration.toMillis(b.time))
  const [first] = times
  const until = first === undefined ? Infinity : (yield* beganAt(`${prefix}/began`)) + Duration.toMillis(first.time)
  return { level, name: "the budget of the run", budget, until, late: first?.late ?? "", spent: Usage.none }
})

export const ofStep = Effect.fnUntraced(function*(
  id: string,
  budget: Budget
): Effect.fn.Return<Bound, never, WorkflowEngine | WorkflowInstance> {
  const { time } = budget
  const until = time === undefined ? Infinity : (yield* beganAt(`${id}/began`)) + Duration.toMillis(time)
  const late = time === undefined ? "" : `its budget is used up: ${short(time)}`
  return { level: undefined, name: "its budget", budget, until, late, spent: Usage.none }
})

/** The timeout of a run within a step. */
export const ofTimeout = (timeout: Duration.Duration, began: number, level: number): Bound => ({
  level,
  retryable: true,
  name: "",
  budget: {},
  until: began + Duration.toMillis(timeout),
  late: `it took longer than ${short(timeout)}`,
  spent: Usage.none
})

/** Adds what a call used. */
export const spend = (bounds: Bounds, usage: Usage.Usage): void => {
  for (const bound of bounds) bound.spent = Usage.add(bound.spent, usage)
}

const overspent = ({ budget: { cost, tokens }, name, spent }: Bound): string | undefined => {
  const used = Usage.tokens(spent)
  if (tokens !== undefined && used > tokens) return `${name} is used up: ${used} of ${tokens} tokens`
  if (cost === undefined) return undefined
  if (spent.unpriced > 0) return `${name} can not be kept: what a call costs is not known`
  const most = BigDecimal.fromNumberUnsafe(cost)
  const over = Object.entries(spent.cost).find(([, amount]) =>
    BigDecimal.isGreaterThan(BigDecimal.fromStringUnsafe(amount), most)
  )
  return over && `${name} is used up: ${over[1]} of ${BigDecimal.format(most)} ${over[0]}`
}

/** The bound whose time is over first. */
export const nearest = (bounds: Bounds): Bound | undefined => {
  let found: Bound | undefined
  for (const bound of bounds) if (found === undefined || bound.until < found.until) found = bound
  return found
}

const refusalOf = (reason: string, level: number | undefined, retryable = false): Refusal => ({
  reason,
  retryable,
  ...level !== undefined && { over: level }
})

export const lateness = ({ late, level, retryable }: Bound): Refusal => refusalOf(late, level, retryable)

/** Why no call may begin now; undefined where one may. That of the run comes first. */
export const refusal = (bounds: Bounds, now: number): Refusal | undefined => {
  for (const bound of bounds) {
    if (bound.until <= now) return lateness(bound)
    const reason = overspent(bound)
    if (reason !== undefined) return refusalOf(reason, bound.level)
  }
  return undefined
}
