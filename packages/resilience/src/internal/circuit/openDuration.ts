/** How long the n-th opening in a row lasts, from a duration or a schedule. */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as check from "../check.ts"

export type Input = Duration.Input | Schedule.Schedule<unknown, number>

/** A function of how many openings in a row there are with that one, in milliseconds. */
export const make = (where: string, input: Input, context: Context.Context<never>): (opening: number) => number => {
  if (!Schedule.isSchedule(input)) {
    const duration = check.positive(where, "openDuration", input)
    return () => duration
  }
  const delay = delaysOf(input, context)
  if (!(delay(1) > 0)) check.refuse(where, "openDuration", "a schedule whose first delay is above zero", delay(1))
  return delay
}

/** A schedule is stepped so often at most; a snapshot may claim any number of openings. */
const longest = 1_000

/**
 * Steps through the schedule as openings come, and from its start when a new row
 * of them begins. It is told the time spent open, so that `Schedule.during` and
 * the like measure that. Once it ends, its last delay repeats.
 */
const delaysOf = (schedule: Schedule.Schedule<unknown, number>, context: Context.Context<never>) => {
  const run = Effect.runSyncExitWith(context)
  const begin = () => ({ step: run(Schedule.toStep(schedule)), reached: 0, steps: 0, elapsed: 0, delay: 0 })
  let row = begin()
  return (opening: number): number => {
    if (opening <= row.reached) row = begin()
    row.reached = opening
    while (row.steps < Math.min(opening, longest)) {
      row.steps++
      const next = row.step._tag === "Success" ? run(row.step.value(row.elapsed, row.steps)) : row.step
      if (next._tag === "Failure") row.steps = longest
      else {
        row.delay = Duration.toMillis(next.value[1])
        row.elapsed += row.delay
      }
    }
    return row.delay
  }
}
