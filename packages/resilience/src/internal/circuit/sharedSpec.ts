/** What a shared circuit is held to, as plain data that a script can read. */
import type { Spec } from "../../CircuitBreakerStore.ts"
import * as check from "../check.ts"
import type * as Settings from "./settings.ts"
import type * as Trip from "./trip.ts"

/** Openings in a row after which the length of an opening no longer changes. */
const longestRow = 32

/** A count window is read and written with each batch of results. */
const largestWindow = 10_000

export const make = (where: string, checked: Settings.Checked): Spec => ({
  trip: portable(where, checked.trip),
  openDurations: openDurations(checked),
  maxOpenDuration: Math.ceil(checked.maxOpenDuration),
  probes: checked.probes,
  probeThreshold: checked.probeThreshold,
  probeTimeout: Math.ceil(checked.probeTimeout)
})

const openDurations = ({ openDuration }: Settings.Checked): Spec["openDurations"] => {
  const duration = (opening: number) => Math.ceil(openDuration(opening))
  const rest = Array.from({ length: longestRow - 1 }, (_, i) => duration(i + 2))
  const first = duration(1)
  while (rest.length > 0 && rest.at(-1) === (rest.at(-2) ?? first)) rest.pop()
  return [first, ...rest]
}

/** Times in whole milliseconds, since JSON in a script keeps 14 digits. */
const portable = (where: string, trip: Trip.Trip): Trip.Trip => {
  switch (trip._tag) {
    case "Consecutive":
      return trip
    case "CountWindow":
      if (trip.size > largestWindow) check.refuse(where, "trip.size", "at most 10,000 in a shared circuit", trip.size)
      return trip
    case "TimeWindow":
      return { ...trip, window: Math.ceil(trip.window) }
    case "AnyOf":
    case "AllOf":
      return { _tag: trip._tag, trips: trip.trips.map((part) => portable(where, part)) }
  }
}
