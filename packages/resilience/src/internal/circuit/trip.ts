/**
 * When a closed circuit opens: a rule as plain data, which can be sent to where
 * the counting is done, and the counter that follows it.
 */
import * as TimeWindow from "../timeWindow.ts"

/** So many calls in a row, in the order in which they end. */
export interface Consecutive {
  readonly _tag: "Consecutive"
  readonly times: number
  readonly of: "failures" | "slow"
}

/** The shares that open a circuit; undefined is never judged. */
interface Rates {
  /** Calls that must be in the window before a share counts. */
  readonly minimumCalls: number
  readonly failureRate?: number | undefined
  readonly slowRate?: number | undefined
}

/** The last `size` calls. */
export interface CountWindow extends Rates {
  readonly _tag: "CountWindow"
  readonly size: number
}

/** The calls that ended within the last `window` milliseconds. */
export interface OfTime extends Rates {
  readonly _tag: "TimeWindow"
  readonly window: number
}

export type Trip =
  | Consecutive
  | CountWindow
  | OfTime
  | { readonly _tag: "AnyOf"; readonly trips: ReadonlyArray<Trip> }
  | { readonly _tag: "AllOf"; readonly trips: ReadonlyArray<Trip> }

/** Which rule opened a circuit. */
export type Reason = "consecutive" | "failure-rate" | "slow-rate"

/** A judged call. */
export interface Result {
  readonly failed: boolean
  readonly slow: boolean
  /** The dependency's hint in milliseconds. */
  readonly retryAfter: number | undefined
}

/** What the counter of a rule has counted. */
export interface Counts {
  readonly calls: number
  readonly failures: number
  readonly slow: number
}

export type Counter =
  | { readonly _tag: "Consecutive"; readonly trip: Consecutive; run: number }
  | {
    readonly _tag: "CountWindow"
    readonly trip: CountWindow
    /** Bit 1 is set for a failure and bit 2 for a slow call. */
    readonly ring: Uint8Array
    /** Where the next call goes; the oldest one once the ring is full. */
    next: number
    calls: number
    failures: number
    slow: number
  }
  | { readonly _tag: "TimeWindow"; readonly trip: OfTime; readonly window: TimeWindow.TimeWindow }
  | { readonly _tag: "AnyOf" | "AllOf"; readonly parts: ReadonlyArray<Counter> }

const failureBit = 1
const slowBit = 2

export const make = (trip: Trip): Counter => {
  switch (trip._tag) {
    case "Consecutive":
      return { _tag: "Consecutive", trip, run: 0 }
    case "CountWindow": {
      const ring = new Uint8Array(trip.size)
      return { _tag: "CountWindow", trip, ring, next: 0, calls: 0, failures: 0, slow: 0 }
    }
    case "TimeWindow":
      return { _tag: "TimeWindow", trip, window: TimeWindow.make(trip.window) }
    case "AnyOf":
    case "AllOf":
      return { _tag: trip._tag, parts: trip.trips.map(make) }
  }
}

/** Whether a rule judges how slow calls are. */
export const judgesSlow = (trip: Trip): boolean => {
  switch (trip._tag) {
    case "Consecutive":
      return trip.of === "slow"
    case "CountWindow":
    case "TimeWindow":
      return trip.slowRate !== undefined
    case "AnyOf":
    case "AllOf":
      return trip.trips.some(judgesSlow)
  }
}

/** Counts a call; the clock is read only by a rule that knows time. */
export const add = (counter: Counter, result: Result, now: () => number): void => {
  switch (counter._tag) {
    case "Consecutive": {
      const counts = counter.trip.of === "failures" ? result.failed : result.slow
      counter.run = counts ? counter.run + 1 : 0
      return
    }
    case "CountWindow":
      return push(counter, (result.failed ? failureBit : 0) | (result.slow ? slowBit : 0))
    case "TimeWindow":
      return TimeWindow.record(counter.window, now(), result.failed, result.slow)
    case "AnyOf":
    case "AllOf":
      for (const part of counter.parts) add(part, result, now)
  }
}

const push = (counter: Extract<Counter, { _tag: "CountWindow" }>, bits: number): void => {
  const { ring, trip } = counter
  if (counter.calls === trip.size) {
    const oldest = ring[counter.next] ?? 0
    if ((oldest & failureBit) !== 0) counter.failures--
    if ((oldest & slowBit) !== 0) counter.slow--
  } else counter.calls++
  ring[counter.next] = bits
  counter.next = (counter.next + 1) % trip.size
  if ((bits & failureBit) !== 0) counter.failures++
  if ((bits & slowBit) !== 0) counter.slow++
}

/** The rule that is met by what has been counted, if any; of several the first one. */
export const judge = (counter: Counter): Reason | undefined => {
  switch (counter._tag) {
    case "Consecutive":
      return counter.run >= counter.trip.times ? "consecutive" : undefined
    case "CountWindow":
      return judgeRates(counter.trip, counter)
    case "TimeWindow":
      return judgeRates(counter.trip, counter.window)
    case "AnyOf": {
      for (const part of counter.parts) {
        const reason = judge(part)
        if (reason !== undefined) return reason
      }
      return undefined
    }
    case "AllOf": {
      let first: Reason | undefined
      for (const part of counter.parts) {
        const reason = judge(part)
        if (reason === undefined) return undefined
        first ??= reason
      }
      return first
    }
  }
}

const judgeRates = (rates: Rates, { calls, failures, slow }: Counts): Reason | undefined => {
  if (calls < rates.minimumCalls) return undefined
  if (rates.failureRate !== undefined && failures / calls >= rates.failureRate) return "failure-rate"
  return rates.slowRate !== undefined && slow / calls >= rates.slowRate ? "slow-rate" : undefined
}

/** What is counted at a time, of a combination by its first rule. */
export const counts = (counter: Counter, now: () => number): Counts => {
  switch (counter._tag) {
    case "Consecutive": {
      const { run, trip } = counter
      return { calls: run, failures: trip.of === "failures" ? run : 0, slow: trip.of === "slow" ? run : 0 }
    }
    case "CountWindow":
      return counter
    case "TimeWindow": {
      TimeWindow.advance(counter.window, now())
      return counter.window
    }
    case "AnyOf":
    case "AllOf": {
      const [first] = counter.parts
      return first === undefined ? { calls: 0, failures: 0, slow: 0 } : counts(first, now)
    }
  }
}

/** Whether a window of time holds calls. What is counted without time would never be forgotten, and so does not matter here. */
export const holdsRecent = (counter: Counter, now: number): boolean => {
  switch (counter._tag) {
    case "Consecutive":
    case "CountWindow":
      return false
    case "TimeWindow":
      return counts(counter, () => now).calls > 0
    case "AnyOf":
    case "AllOf":
      return counter.parts.some((part) => holdsRecent(part, now))
  }
}

/** What a counter has counted, as plain data: times are ages, so that another clock can go on. */
export type Saved =
  | { readonly _tag: "Consecutive"; readonly of: Consecutive["of"]; readonly run: number }
  /** The calls' bits, the oldest first: 1 for a failure and 2 for a slow call. */
  | { readonly _tag: "CountWindow"; readonly calls: ReadonlyArray<number> }
  | { readonly _tag: "TimeWindow"; readonly slices: ReadonlyArray<TimeWindow.Slice> }
  | { readonly _tag: "AnyOf" | "AllOf"; readonly parts: ReadonlyArray<Saved> }

export const save = (counter: Counter, now: number): Saved => {
  switch (counter._tag) {
    case "Consecutive":
      return { _tag: "Consecutive", of: counter.trip.of, run: counter.run }
    case "CountWindow": {
      const { calls, next, ring, trip } = counter
      const oldest = calls === trip.size ? next : 0
      return {
        _tag: "CountWindow",
        calls: Array.from({ length: calls }, (_, i) => ring[(oldest + i) % trip.size] ?? 0)
      }
    }
    case "TimeWindow":
      return { _tag: "TimeWindow", slices: TimeWindow.save(counter.window, now) }
    case "AnyOf":
    case "AllOf":
      return { _tag: counter._tag, parts: counter.parts.map((part) => save(part, now)) }
  }
}

/** A counter that goes on from what was saved, as far as that is of the same kind. */
export const restore = (trip: Trip, saved: Saved, now: number): Counter => {
  const counter = make(trip)
  fill(counter, saved, now)
  return counter
}

const fill = (counter: Counter, saved: Saved, now: number): void => {
  if (counter._tag === "Consecutive" && saved._tag === "Consecutive") {
    if (counter.trip.of === saved.of) counter.run = saved.run
  } else if (counter._tag === "CountWindow" && saved._tag === "CountWindow") {
    for (const bits of saved.calls) push(counter, bits)
  } else if (counter._tag === "TimeWindow" && saved._tag === "TimeWindow") {
    TimeWindow.restore(counter.window, saved.slices, now)
  } else if ("parts" in counter && "parts" in saved) {
    counter.parts.forEach((part, index) => {
      const from = saved.parts[index]
      if (from !== undefined) fill(part, from, now)
    })
  }
}
