/**
 * The circuit as a state machine on a plain record. Each function is one
 * synchronous step, which takes the time as an argument, in milliseconds of any
 * monotonic clock; a step that needs no time never asks for it.
 *
 * An admission carries the era (the stretch of one phase) in which it was given
 * and, for a probe, a token that no other one has. A result whose era is over or
 * whose token is gone changes nothing.
 */
import * as Trip from "./trip.ts"

/** What a circuit is held to. */
export interface Spec {
  readonly trip: Trip.Trip
  /** Milliseconds that the n-th opening in a row lasts; n counts from 1. */
  readonly openDuration: (opening: number) => number
  /** Milliseconds that an opening lasts at most, whatever `openDuration` and the dependency's hint say. */
  readonly maxOpenDuration: number
  /** Probes at once, and in all, while half-open. */
  readonly probes: number
  /** Probes that must succeed, at most `probes`. */
  readonly probeThreshold: number
  /** Milliseconds after which a probe is given up. */
  readonly probeTimeout: number
}

export type Phase =
  | { readonly _tag: "Closed"; readonly since: number; readonly counter: Trip.Counter }
  | { readonly _tag: "Open"; readonly until: number }
  | {
    readonly _tag: "HalfOpen"
    readonly since: number
    /** The tokens of probes under way and when each began, the oldest first. */
    readonly running: Map<number, number>
    succeeded: number
    failed: number
  }
  | { readonly _tag: "Isolated" }
  | { readonly _tag: "Disabled" }

export interface Machine {
  phase: Phase
  /** Grows with each transition, and is never used again. */
  era: number
  /** Whether nobody is rejected, while all else goes on. */
  shadow: boolean
  /** Openings in a row: a close ends the row once the circuit stays closed for as long as it was open. */
  openings: number
  /** Milliseconds of the last opening. */
  openFor: number
  /** Whether they were told by hand, and so may be more than the spec's maximum. */
  byHand: boolean
  /** The newest token of a probe. */
  token: number
}

export type Because =
  | Trip.Reason
  | "open-time-over"
  | "probes-failed"
  | "probes-succeeded"
  | "manual"
  | "imported"

export interface Transition {
  readonly from: Phase["_tag"]
  readonly to: Phase["_tag"]
  readonly because: Because
}

/** The states in which a call is rejected. */
export type Rejecting = "open" | "half-open" | "isolated"

export type Admission =
  | Admitted
  /** The call runs, and its end need not be told. `spared` says why it would have been rejected, were it not for shadow. */
  | {
    readonly _tag: "Unjudged"
    readonly spared: Rejecting | undefined
    readonly transition: undefined
  }
  /** `retryAfter` is the time until the next probe in milliseconds, where that is known. */
  | {
    readonly _tag: "Rejected"
    readonly state: Rejecting
    readonly retryAfter: number | undefined
    readonly transition: undefined
  }

/** The call runs and `release` must hear of its end. */
export interface Admitted {
  readonly _tag: "Admitted"
  readonly era: number
  readonly probe: number | undefined
  /** Whether the probe took the place of one that was past its limit. */
  readonly replaced: boolean
  readonly transition: Transition | undefined
}

export type Command =
  /** Rejects for so many milliseconds, or for as long as the next opening would last. */
  | { readonly _tag: "Open"; readonly duration: number | undefined }
  | { readonly _tag: "Close" | "Isolate" | "Disable" | "Shadow" | "Automatic" }

export const make = (spec: Spec, now: number): Machine => ({
  phase: closed(spec, now),
  era: 0,
  shadow: false,
  openings: 0,
  openFor: 0,
  byHand: false,
  token: 0
})

const closed = (spec: Spec, now: number): Phase => ({ _tag: "Closed", since: now, counter: Trip.make(spec.trip) })

export const become = (machine: Machine, phase: Phase, because: Because): Transition => {
  const from = machine.phase._tag
  machine.phase = phase
  machine.era++
  return { from, to: phase._tag, because }
}

const open = (machine: Machine, duration: number, now: number, because: Because): Transition => {
  machine.openFor = duration
  machine.byHand = false
  return become(machine, { _tag: "Open", until: now + duration }, because)
}

/** How long the next opening lasts, which begins now. */
const nextOpening = (spec: Spec, machine: Machine, now: number, hint: number | undefined): number => {
  const { phase } = machine
  if (phase._tag === "Closed" && now - phase.since >= machine.openFor) machine.openings = 0
  machine.openings++
  return Math.min(spec.maxOpenDuration, Math.max(spec.openDuration(machine.openings), hint ?? 0))
}

/** Decides about a call that comes now. */
export const admit = (spec: Spec, machine: Machine, now: () => number): Admission => {
  const { phase } = machine
  switch (phase._tag) {
    case "Closed":
      return { _tag: "Admitted", era: machine.era, probe: undefined, replaced: false, transition: undefined }
    case "Open": {
      const at = now()
      if (at < phase.until) return refuse(machine, "open", phase.until - at)
      const next = { _tag: "HalfOpen" as const, since: at, running: new Map(), succeeded: 0, failed: 0 }
      const transition = become(machine, next, "open-time-over")
      return admitProbe(machine, next, at, false, transition)
    }
    case "HalfOpen": {
      const at = now()
      if (running(spec, phase, at) + phase.succeeded + phase.failed >= spec.probes) {
        return refuse(machine, "half-open", undefined)
      }
      return admitProbe(machine, phase, at, makeRoom(spec, phase), undefined)
    }
    case "Isolated":
      return refuse(machine, "isolated", undefined)
    case "Disabled":
      return unjudged
  }
}

const unjudged: Admission = { _tag: "Unjudged", spared: undefined, transition: undefined }

const refuse = (machine: Machine, state: Rejecting, retryAfter: number | undefined): Admission =>
  machine.shadow
    ? { _tag: "Unjudged", spared: state, transition: undefined }
    : { _tag: "Rejected", state, retryAfter, transition: undefined }

export type HalfOpen = Extract<Phase, { _tag: "HalfOpen" }>

const admitProbe = (
  machine: Machine,
  phase: HalfOpen,
  now: number,
  replaced: boolean,
  transition: Transition | undefined
): Admission => {
  const probe = ++machine.token
  phase.running.set(probe, now)
  return { _tag: "Admitted", era: machine.era, probe, replaced, transition }
}

/** Takes slots from the oldest probes, which are past their limit, until one is free. */
const makeRoom = (spec: Spec, phase: HalfOpen): boolean => {
  let replaced = false
  for (const token of phase.running.keys()) {
    if (phase.running.size + phase.succeeded + phase.failed < spec.probes) break
    phase.running.delete(token)
    replaced = true
  }
  return replaced
}

/**
 * Hears that a call has ended, before it is judged: gives its slot back, and
 * says whether its result counts.
 */
export const release = (spec: Spec, machine: Machine, admission: Admitted, now: () => number): boolean => {
  if (admission.era !== machine.era) return false
  if (admission.probe === undefined) return true
  const { phase } = machine
  if (phase._tag !== "HalfOpen") return false
  const since = phase.running.get(admission.probe)
  return since !== undefined && phase.running.delete(admission.probe) && now() - since < spec.probeTimeout
}

/** Counts the result of a call whose `release` said that it counts. */
export const record = (
  spec: Spec,
  machine: Machine,
  admission: Admitted,
  result: Trip.Result,
  now: () => number
): Transition | undefined => {
  if (admission.era !== machine.era) return undefined
  const { phase } = machine
  switch (phase._tag) {
    case "Closed": {
      Trip.add(phase.counter, result, now)
      const reason = Trip.judge(phase.counter)
      if (reason === undefined) return undefined
      const at = now()
      return open(machine, nextOpening(spec, machine, at, result.retryAfter), at, reason)
    }
    case "HalfOpen": {
      // Else a circuit that opened because all was slow would close upon a slow probe.
      if (result.failed || (result.slow && Trip.judgesSlow(spec.trip))) phase.failed++
      else phase.succeeded++
      return decide(spec, machine, result.retryAfter, now)
    }
    default:
      return undefined
  }
}

/** Ends the half-open phase as soon as the probes still missing cannot change how it ends. */
export const decide = (
  spec: Spec,
  machine: Machine,
  hint: number | undefined,
  now: () => number
): Transition | undefined => {
  const { phase } = machine
  if (phase._tag !== "HalfOpen") return undefined
  if (phase.succeeded >= spec.probeThreshold) return become(machine, closed(spec, now()), "probes-succeeded")
  if (phase.failed <= spec.probes - spec.probeThreshold) return undefined
  const at = now()
  return open(machine, nextOpening(spec, machine, at, hint), at, "probes-failed")
}

/** Does what is told by hand. */
export const control = (spec: Spec, machine: Machine, command: Command, now: number): Transition | undefined => {
  switch (command._tag) {
    case "Open": {
      const next = nextOpening(spec, machine, now, undefined)
      const transition = open(machine, command.duration ?? next, now, "manual")
      machine.byHand = command.duration !== undefined
      return transition
    }
    case "Close":
      return startAfresh(spec, machine, now)
    case "Isolate":
    case "Disable": {
      const to = command._tag === "Isolate" ? "Isolated" : "Disabled"
      machine.shadow = false
      return machine.phase._tag === to ? undefined : become(machine, { _tag: to }, "manual")
    }
    case "Shadow":
    case "Automatic": {
      machine.shadow = command._tag === "Shadow"
      const held = machine.phase._tag === "Isolated" || machine.phase._tag === "Disabled"
      return held ? startAfresh(spec, machine, now) : undefined
    }
  }
}

const startAfresh = (spec: Spec, machine: Machine, now: number): Transition => {
  machine.openings = 0
  machine.openFor = 0
  machine.byHand = false
  return become(machine, closed(spec, now), "manual")
}

/** Whether a call that came now would run. */
export const permits = (spec: Spec, machine: Machine, now: number): boolean => {
  const { phase, shadow } = machine
  switch (phase._tag) {
    case "Closed":
    case "Disabled":
      return true
    case "Isolated":
      return false
    case "Open":
      return shadow || now >= phase.until
    case "HalfOpen":
      return shadow || running(spec, phase, now) + phase.succeeded + phase.failed < spec.probes
  }
}

/** Probes under way that are within their limit; the oldest come first. */
export const running = (spec: Spec, phase: HalfOpen, now: number): number => {
  let count = phase.running.size
  for (const since of phase.running.values()) {
    if (now - since < spec.probeTimeout) break
    count--
  }
  return count
}

/** Takes in that the machine is held to something else from now on. Calls under way still count. */
export const adapt = (spec: Spec, machine: Machine, now: number): Transition | undefined => {
  const { phase } = machine
  if (phase._tag === "Closed") {
    const counter = Trip.restore(spec.trip, Trip.save(phase.counter, now), now)
    machine.phase = { ...phase, counter }
  }
  return decide(spec, machine, undefined, () => now)
}

/**
 * Whether the machine remembers nothing that matters: nobody steers it by hand,
 * its window of time is empty, and what opened it is over for at least as long
 * as it was open.
 */
export const atRest = (spec: Spec, machine: Machine, now: number): boolean => {
  const { openFor, phase, shadow } = machine
  if (shadow) return false
  switch (phase._tag) {
    case "Closed":
      return now - phase.since >= openFor && !Trip.holdsRecent(phase.counter, now)
    case "Open":
      return now - phase.until >= openFor
    case "HalfOpen":
      return now - phase.since >= openFor && running(spec, phase, now) === 0
    default:
      return false
  }
}
