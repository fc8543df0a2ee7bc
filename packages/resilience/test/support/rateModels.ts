/** Small reference models of rate limits, which keep the whole history and know no arithmetic but sums. */
import type { RateLimiter } from "@ballast/resilience"

export interface Limits {
  readonly limit: number
  /** Milliseconds, at least one for each of the limit. */
  readonly window: number
  readonly burst: number
}

export interface Model {
  /** Whether so much may be taken at a time from now on, if nothing else happens until then; changes nothing. */
  readonly canTake: (now: number, weight: number) => boolean
  /** Takes in any case. */
  readonly take: (now: number, weight: number) => Taken
  readonly giveBack: (now: number, taken: Taken, weight: number) => void
  readonly reward: (now: number, weight: number) => void
  readonly update: (now: number, limits: Limits) => void
}

interface Taken {
  readonly at: number
  weight: number
}

const tiny = 1e-6
/** Milliseconds that a bucket's sum may be off, and that a paced call may be early. */
const slack = 1e-3
const early = 0.998
const sum = (calls: ReadonlyArray<Taken>) => calls.reduce((total, call) => total + call.weight, 0)
/** Takes so much away, as far as there is, from the first to the last. */
const lessenAll = (calls: ReadonlyArray<Taken>, weight: number) =>
  calls.reduce((left, call) => left - lessen(call, left), weight)
const lessen = (call: Taken, weight: number) => {
  const by = Math.min(call.weight, weight)
  call.weight -= by
  return by
}

/** Replays all that happened, with what was given back as though it had never been taken. */
const bucket = (initial: Limits, even: boolean): Model => {
  let limits = initial
  type Step = Taken | { readonly at: number; readonly reward: number } | {
    readonly at: number
    readonly limits: Limits
  }
  const history: Array<Step> = []
  const outstanding = (now: number) => {
    let held = 0
    let at = 0
    let { limit, window } = initial
    for (const step of [...history, { at: now, weight: 0 }]) {
      held = Math.max(0, held - (step.at - at) * limit / window)
      at = step.at
      if ("weight" in step) held += step.weight
      else if ("reward" in step) held = Math.max(0, held - step.reward)
      else ({ limit, window } = step.limits)
    }
    return held
  }
  return {
    canTake: (now, weight) => {
      const held = outstanding(now)
      const perMillisecond = limits.limit / limits.window
      if (even) return weight <= limits.limit && held <= early * perMillisecond
      return held + weight <= limits.burst + slack * perMillisecond
    },
    take: (at, weight) => {
      const taken = { at, weight }
      history.push(taken)
      return taken
    },
    giveBack: (_now, taken, weight) => {
      lessen(taken, weight)
    },
    reward: (at, reward) => {
      history.push({ at, reward })
    },
    update: (at, next) => {
      limits = next
      history.push({ at, limits })
    }
  }
}

const fixedWindow = (initial: Limits): Model => {
  let limits = initial
  let start = 0
  let calls: Array<Taken> = []
  const isOver = (now: number) => now >= start + limits.window || sum(calls) === 0
  const roll = (now: number) => {
    if (!isOver(now)) return
    calls = []
    start = now
  }
  return {
    canTake: (now, weight) => (isOver(now) ? 0 : sum(calls)) + weight <= limits.limit,
    take: (at, weight) => {
      roll(at)
      const taken = { at, weight }
      calls.push(taken)
      return taken
    },
    giveBack: (now, taken, weight) => {
      roll(now)
      if (taken.at >= start) lessenAll(calls, weight)
    },
    reward: (now, weight) => {
      roll(now)
      lessenAll(calls, weight)
    },
    update: (now, next) => {
      roll(now)
      limits = next
    }
  }
}

const slidingCounter = (initial: Limits): Model => {
  let limits = initial
  let start = 0
  let calls: Array<Taken> = []
  let before: Array<Taken> = []
  let startBefore = 0
  const at = (now: number) => {
    const { window } = limits
    const windows = Math.floor((now - start) / window)
    const frame = windows === 0
      ? { start, calls, before, startBefore }
      : { start: start + window, calls: [], before: calls, startBefore: start }
    return windows > 1 || sum(frame.calls) + sum(frame.before) === 0
      ? { start: now, calls: [], before: [], startBefore: now }
      : frame
  }
  const roll = (now: number) => {
    ;({ before, calls, start, startBefore } = at(now))
  }
  return {
    canTake: (now, weight) => {
      const frame = at(now)
      const counted = sum(frame.before) * (1 - (now - frame.start) / limits.window)
      return counted + sum(frame.calls) + weight <= limits.limit + tiny
    },
    take: (now, weight) => {
      roll(now)
      const taken = { at: now, weight }
      calls.push(taken)
      return taken
    },
    giveBack: (now, taken, weight) => {
      roll(now)
      if (taken.at >= start) lessenAll(calls, weight)
      else if (taken.at >= startBefore) lessenAll(before, weight)
    },
    reward: (now, weight) => {
      roll(now)
      const left = lessenAll(calls, weight)
      lessenAll(before, left / (1 - (now - start) / limits.window))
    },
    update: (now, next) => {
      roll(now)
      limits = next
      roll(now)
    }
  }
}

const slidingLog = (initial: Limits): Model => {
  let limits = initial
  let calls: Array<Taken> = []
  const held = (now: number) => calls.filter((call) => call.at + limits.window > now)
  return {
    canTake: (now, weight) => sum(held(now)) + weight <= limits.limit,
    take: (at, weight) => {
      const taken = { at, weight }
      calls.push(taken)
      return taken
    },
    giveBack: (now, taken, weight) => {
      lessenAll(held(now).filter(({ at }) => at === taken.at), weight)
    },
    reward: (now, weight) => {
      lessenAll(held(now).toReversed(), weight)
    },
    update: (now, next) => {
      calls = held(now)
      limits = next
    }
  }
}

export const makeModel = (algorithm: RateLimiter.Algorithm, limits: Limits): Model => {
  switch (algorithm) {
    case "token-bucket":
      return bucket(limits, false)
    case "leaky-bucket":
      return bucket(limits, true)
    case "fixed-window":
      return fixedWindow(limits)
    case "sliding-counter":
      return slidingCounter(limits)
    case "sliding-log":
      return slidingLog(limits)
  }
}
