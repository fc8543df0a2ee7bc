/**
 * A circuit breaker that is as plain as can be: it keeps every result of the
 * running era and counts anew whenever it is asked.
 */
import type { CircuitBreaker, Outcome } from "@ballast/resilience"
import { Duration } from "effect"

/** What the model is held to; times in milliseconds. */
export interface Rules {
  readonly trip: CircuitBreaker.Trip
  readonly slowAfter: number
  readonly opening: (n: number) => number
  readonly maxOpenDuration: number
  readonly probes: number
  readonly probeThreshold: number
  readonly probeTimeout: number
}

interface Result {
  readonly at: number
  readonly failed: boolean
  readonly slow: boolean
}

/** A call that runs. */
export interface Call {
  readonly era: Era
  readonly startedAt: number
  readonly probe: boolean
  readonly judged: boolean
  replaced: boolean
  ended: boolean
}

interface Era {
  readonly name: CircuitBreaker.State["_tag"]
  readonly since: number
  readonly until: number
  readonly results: Array<Result>
  readonly calls: Array<Call>
}

const count = (results: ReadonlyArray<Result>) => ({
  calls: results.length,
  failures: results.filter((result) => result.failed).length,
  slow: results.filter((result) => result.slow).length
})

/** The results that a rule looks at. */
const judged = (trip: CircuitBreaker.Trip, results: ReadonlyArray<Result>, now: number): ReadonlyArray<Result> => {
  switch (trip._tag) {
    case "Consecutive": {
      const break_ = results.findLastIndex((result) => trip.of === "slow" ? !result.slow : !result.failed)
      return results.slice(break_ + 1)
    }
    case "CountWindow":
      return results.slice(-trip.size)
    case "TimeWindow": {
      const slice = (at: number) => Math.floor(at / (trip.window / 10))
      return results.filter(({ at }) => slice(at) > slice(now) - 10)
    }
    default:
      return trip.trips[0] === undefined ? [] : judged(trip.trips[0], results, now)
  }
}

const trips = (trip: CircuitBreaker.Trip, results: ReadonlyArray<Result>, now: number): boolean => {
  switch (trip._tag) {
    case "Consecutive":
      return judged(trip, results, now).length >= trip.times
    case "AnyOf":
      return trip.trips.some((part) => trips(part, results, now))
    case "AllOf":
      return trip.trips.every((part) => trips(part, results, now))
    default: {
      const { calls, failures, slow } = count(judged(trip, results, now))
      return calls >= trip.minimumCalls &&
        (failures / calls >= (trip.failureRate ?? 2) || slow / calls >= (trip.slowRate ?? 2))
    }
  }
}

const judgesSlow = (trip: CircuitBreaker.Trip): boolean => {
  if ("trips" in trip) return trip.trips.some(judgesSlow)
  return trip._tag === "Consecutive" ? trip.of === "slow" : trip.slowRate !== undefined
}

export const makeModel = (initial: Rules, start: number) => {
  let rules = initial
  let now = start
  let shadow = false
  /** The lengths of the openings in a row. */
  let row: Array<number> = []
  let lastOpening = 0
  const begin = (name: Era["name"], rest?: Partial<Era>): Era => ({
    name,
    since: now,
    until: 0,
    results: [],
    calls: [],
    ...rest
  })
  let era = begin("Closed")

  const counted = () => judged(rules.trip, era.results, now)
  const overdue = (call: Call) => now - call.startedAt >= rules.probeTimeout
  const holders = () => era.calls.filter((call) => call.probe && !call.ended && !call.replaced)

  const openFor = (hint: number) => {
    if (era.name === "Closed" && now - era.since >= lastOpening) row = []
    const length = Math.min(rules.maxOpenDuration, Math.max(rules.opening(row.length + 1), hint))
    row.push(length)
    return length
  }
  const open = (length: number) => {
    lastOpening = length
    era = begin("Open", { until: now + length })
  }
  const settleProbes = (hint: number) => {
    const bad = era.results.filter(({ failed }) => failed).length
    if (era.results.length - bad >= rules.probeThreshold) era = begin("Closed")
    else if (bad > rules.probes - rules.probeThreshold) open(openFor(hint))
  }
  const fresh = () => {
    row = []
    lastOpening = 0
    era = begin("Closed")
  }
  const due = () => era.name === "Open" && now >= era.until
  const free = () => holders().filter((call) => !overdue(call)).length + era.results.length < rules.probes

  return {
    pass: (millis: number) => {
      now += millis
    },
    permits: (): boolean =>
      shadow || era.name === "Closed" || era.name === "Disabled" || due() || (era.name === "HalfOpen" && free()),
    /** The call, if it runs. */
    start: (): Call | undefined => {
      if (due()) era = begin("HalfOpen")
      const call = (judged: boolean): Call => {
        const call = { era, startedAt: now, probe: era.name === "HalfOpen", judged, replaced: false, ended: false }
        if (judged) era.calls.push(call)
        return call
      }
      if (era.name === "Closed") return call(true)
      if (era.name === "Disabled") return call(false)
      if (era.name === "HalfOpen" && free()) {
        while (holders().length + era.results.length >= rules.probes) {
          const [oldest] = holders()
          if (oldest !== undefined) oldest.replaced = true
        }
        return call(true)
      }
      return shadow ? call(false) : undefined
    },
    /** Whether the result of a call that ended now would count. */
    counts: (call: Call) => call.judged && call.era === era && !call.replaced && !(call.probe && overdue(call)),
    end: (call: Call, outcome: Outcome.Outcome) => {
      const counts = call.judged && call.era === era && !call.replaced && !(call.probe && overdue(call))
      call.ended = true
      if (!counts || outcome._tag === "Ignored") return
      const slow = outcome.slow ?? now - call.startedAt >= rules.slowAfter
      const failed = outcome._tag === "Failure"
      const hint = failed && outcome.retryAfter !== undefined ? Duration.toMillis(outcome.retryAfter) : 0
      if (era.name === "HalfOpen") {
        era.results.push({ at: now, failed: failed || (slow && judgesSlow(rules.trip)), slow })
        settleProbes(hint)
      } else {
        era.results.push({ at: now, failed, slow })
        if (trips(rules.trip, era.results, now)) open(openFor(hint))
      }
    },
    open: (length: number | undefined) => {
      const next = openFor(0)
      open(length ?? next)
    },
    close: fresh,
    hold: (name: "Isolated" | "Disabled") => {
      shadow = false
      if (era.name !== name) era = begin(name)
    },
    enforce: (enforced: boolean) => {
      shadow = !enforced
      if (era.name === "Isolated" || era.name === "Disabled") fresh()
    },
    update: (next: Rules) => {
      rules = next
      if (era.name === "HalfOpen") settleProbes(0)
    },
    /** Goes on elsewhere: all is as it was, but what runs belongs to the past. */
    move: () => {
      era = { ...era, calls: [] }
    },
    state: (): CircuitBreaker.State => {
      switch (era.name) {
        case "Closed":
          return { _tag: "Closed", ...shownOf(rules.trip, counted()), shadow }
        case "Open":
          return due()
            ? { _tag: "HalfOpen", running: 0, succeeded: 0, failed: 0, shadow }
            : { _tag: "Open", retryAfter: Duration.millis(era.until - now), openings: row.length, shadow }
        case "HalfOpen": {
          const failed = era.results.filter((result) => result.failed).length
          const running = holders().filter((call) => !overdue(call)).length
          return { _tag: "HalfOpen", running, succeeded: era.results.length - failed, failed, shadow }
        }
        case "Isolated":
        case "Disabled":
          return { _tag: era.name }
      }
    }
  }
}

/** Of calls in a row only what the rule is about is shown. */
const shownOf = (trip: CircuitBreaker.Trip, results: ReadonlyArray<Result>) => {
  const first = "trips" in trip ? trip.trips[0] ?? trip : trip
  const shown = count(results)
  if (first._tag !== "Consecutive") return shown
  return { ...shown, failures: first.of === "failures" ? shown.calls : 0, slow: first.of === "slow" ? shown.calls : 0 }
}
