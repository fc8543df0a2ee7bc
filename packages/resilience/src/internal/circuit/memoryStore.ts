/** Shared circuits in memory: the state machine behind the store's interface. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as check from "../check.ts"
import { makeRoom, maxKeys } from "../makeRoom.ts"
import * as time from "../time.ts"
import * as Machine from "./machine.ts"
import * as State from "./state.ts"
import type { Answer, CircuitBreakerStore, Result, Spec, Transition, View } from "./store.ts"

/**
 * Options of how long a store remembers a key.
 *
 * @category options
 * @since 0.1.0
 */
export interface MemoryOptions {
  /**
   * How long a circuit that no call comes to is kept beyond what matters (its window, its open time), above zero.
   * Default 1 hour.
   */
  readonly idleTimeToLive?: Duration.Input | undefined
}

interface Entry {
  readonly machine: Machine.Machine
  spec: Spec
  held: Machine.Spec
  usedAt: number
}

export const defaults = { idleTimeToLive: "1 hour" } as const

/** What the machine is held to, from plain data. */
const machineSpec = (spec: Spec): Machine.Spec => ({
  ...spec,
  openDuration: (opening) =>
    spec.openDurations[Math.min(opening, spec.openDurations.length) - 1] ?? spec.openDurations[0]
})

export const make = (where: string, options: MemoryOptions | undefined) => {
  const idle = check.positive(where, "idleTimeToLive", options?.idleTimeToLive ?? defaults.idleTimeToLive)

  return (): CircuitBreakerStore["Service"] => {
    // A map keeps the order of insertion, and an entry is moved to its end when it is used.
    const entries = new Map<string, Entry>()
    /** No era of a dropped entry is used again. */
    let era = 0

    const sweep = (now: number) => {
      for (const [key, { held, machine, usedAt }] of entries) {
        if (now - usedAt < idle) break
        if (!Machine.atRest(held, machine, now)) continue
        forget(machine)
        entries.delete(key)
      }
      if (entries.size <= maxKeys) return
      const dropped = makeRoom(
        entries,
        ({ held, machine }) =>
          isSetByHand(machine) ? "pinned" : Machine.atRest(held, machine, now) ? "unnoticed" : "missed"
      )
      if (dropped !== undefined) forget(dropped.machine)
    }

    const forget = (machine: Machine.Machine) => {
      era = Math.max(era, machine.era + 1)
    }

    const find = (key: string, spec: Spec, now: number): Entry => {
      const found = entries.get(key)
      if (found !== undefined) return found
      const held = machineSpec(spec)
      const machine = Machine.make(held, now)
      machine.era = era
      return { machine, spec, held, usedAt: now }
    }

    /** One step for a request, which may be held to another spec than the one before. */
    const step = <A>(
      key: string,
      spec: Spec,
      f: (entry: Entry, now: number, transitions: Array<Transition>) => A
    ): Effect.Effect<A> =>
      Effect.withFiber((fiber) => {
        const now = Math.floor(time.now(fiber))
        const entry = find(key, spec, now)
        entry.usedAt = now
        entries.delete(key)
        entries.set(key, entry)
        sweep(now)
        const transitions: Array<Transition> = []
        if (entry.spec !== spec) {
          entry.spec = spec
          entry.held = machineSpec(spec)
          note(entry, Machine.adapt(entry.held, entry.machine, now), transitions)
        }
        return Effect.succeed(f(entry, now, transitions))
      })

    return {
      admit: (key, spec) =>
        step(key, spec, (entry, now, transitions) => {
          const admission = Machine.admit(entry.held, entry.machine, () => now)
          note(entry, admission.transition, transitions)
          const admitted = admission._tag === "Admitted" ? admission : undefined
          return {
            ...answer(entry, now, transitions),
            probe: admitted?.probe,
            replaced: admitted?.replaced ?? false
          }
        }),
      record: (key, spec, results) =>
        step(key, spec, (entry, now, transitions) => {
          for (const result of results) note(entry, count(entry, result, now), transitions)
          return answer(entry, now, transitions)
        }),
      control: (key, spec, command) =>
        step(key, spec, (entry, now, transitions) => {
          note(entry, Machine.control(entry.held, entry.machine, command, now), transitions)
          return answer(entry, now, transitions)
        }),
      inspect: (key, spec) =>
        Effect.withFiber((fiber) => {
          const now = Math.floor(time.now(fiber))
          const found = find(key, spec, now)
          const { openings } = found.machine
          if (found.spec === spec) return Effect.succeed({ ...State.of(found.held, found.machine, now), openings })
          const machine = { ...found.machine }
          const held = machineSpec(spec)
          Machine.adapt(held, machine, now)
          return Effect.succeed({ ...State.of(held, machine, now), openings: machine.openings })
        })
    }
  }
}

const isSetByHand = ({ phase, shadow }: Machine.Machine): boolean =>
  shadow || phase._tag === "Isolated" || phase._tag === "Disabled"

const note = (
  { machine }: Entry,
  transition: Machine.Transition | undefined,
  transitions: Array<Transition>
): void => {
  if (transition === undefined) return
  transitions.push(transition.to === "Open" ? { ...transition, openFor: machine.openFor } : transition)
}

const count = ({ held, machine }: Entry, result: Result, now: number): Machine.Transition | undefined => {
  const { outcome, probe, retryAfter, slow } = result
  const era = Number(result.era)
  const admission = { _tag: "Admitted" as const, era, probe, replaced: false, transition: undefined }
  const clock = () => now
  if (!Machine.release(held, machine, admission, clock) || outcome === "ignored") return undefined
  return Machine.record(held, machine, admission, { failed: outcome === "failure", slow, retryAfter }, clock)
}

const answer = (entry: Entry, now: number, transitions: ReadonlyArray<Transition>): Answer => ({
  view: viewOf(entry, now),
  transitions
})

const viewOf = ({ held, machine }: Entry, now: number): View => {
  const { era, openings, phase, shadow } = machine
  return {
    phase: phase._tag,
    era: String(era),
    shadow,
    openings,
    left: phase._tag === "Open" ? Math.max(0, phase.until - now) : undefined,
    free: phase._tag === "HalfOpen"
      ? Machine.running(held, phase, now) + phase.succeeded + phase.failed < held.probes
      : undefined
  }
}
