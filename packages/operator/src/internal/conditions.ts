/** What the status says of a rollout. */
import * as Duration from "effect/Duration"
import type { Condition, Target } from "../BallastModel.ts"
import { isReused, type Memory } from "./canary.ts"
import { find, isReady, type Pod, type Situation } from "./pods.ts"
import { defaults, fingerprintOf, targetOf } from "./specs.ts"
import { iso, millisOf } from "./times.ts"

const listed = (names: ReadonlyArray<string>): string =>
  names.slice(0, 3).join(", ") + (names.length > 3 ? ` and ${names.length - 3} more` : "")

type Told = Pick<Condition, "type" | "status" | "reason" | "message">

const told = (type: Told["type"], status: boolean, reason: string, message: string): Told => ({
  type,
  status: status ? "True" : "False",
  reason,
  message
})

/** What a decision rests on. */
export interface Outcome {
  readonly situation: Situation
  readonly memory: Memory
  readonly candidate: Target | undefined
  readonly chosen: ReadonlyArray<Pod>
  readonly wished: number
  readonly serving: number
}

export const failureOf = ({ candidate, chosen, memory }: Outcome): string | undefined => {
  for (const pod of chosen) {
    for (const target of [candidate, memory.stable]) {
      const held = target && find(pod, target.version)
      if (held?.state === "failed") {
        return `version ${held.version} can't be loaded on ${pod.name}: ${held.reason ?? "no reason given"}`
      }
    }
  }
  return undefined
}

export const ready = ({ chosen, memory, serving, situation, wished }: Outcome): Told => {
  if (situation.pods.length === 0) return told("Ready", false, "NoPods", "no gateway pod is ready")
  if (memory.stable === undefined) {
    return told("Ready", false, "NotLoaded", `version ${situation.spec.version} is not ready on all pods yet`)
  }
  const message = `version ${memory.stable.version} serves on ${serving} of ${wished} pods`
  return told("Ready", serving >= wished && chosen.length > 0, serving >= wished ? "Serving" : "TooFewPods", message)
}

export const progressing = ({ candidate, chosen, memory, situation: { spec } }: Outcome): Told => {
  const { canary } = memory
  if (candidate === undefined) {
    return memory.turnedBack === undefined
      ? told("Progressing", false, "Complete", `version ${memory.stable?.version} has all calls`)
      : told("Progressing", false, "TurnedBack", memory.turnedBack.message)
  }
  if (canary === undefined) {
    const there = chosen.filter((pod) => isReady(pod, candidate)).length
    return told(
      "Progressing",
      true,
      "Loading",
      `version ${candidate.version} is ready on ${there} of ${chosen.length} pods`
    )
  }
  const { interval = defaults.interval, minCalls = defaults.minCalls, steps = defaults.steps } = spec.canary ?? {}
  const next = canary.calls < minCalls
    ? `the step needs ${minCalls} calls`
    : `the next step comes at ${iso(millisOf(canary.since) + Duration.toMillis(interval))} at the earliest`
  return told(
    "Progressing",
    true,
    "Canary",
    `version ${canary.version} has ${canary.weight} % (step ${
      canary.step + 1
    } of ${steps}), ${canary.calls} calls, ${canary.errors} errors; ${next}`
  )
}

export const degraded = (outcome: Outcome): Told => {
  const { candidate, memory, situation: { pods, spec, status } } = outcome
  if (candidate === undefined && isReused(memory, targetOf(spec))) {
    return told(
      "Degraded",
      true,
      "VersionReused",
      `version ${spec.version} serves already, with another source, sum or golden inputs: give the change a new version`
    )
  }
  if (memory.turnedBack !== undefined) return told("Degraded", true, "TurnedBack", memory.turnedBack.message)
  const failure = failureOf(outcome)
  if (failure !== undefined) return told("Degraded", true, "LoadFailed", failure)
  // A version that is tried again has not got better by that.
  const before = status.conditions?.find(({ reason }) => reason === "LoadFailed")
  const isTriedAgain = status.retry?.fingerprint === fingerprintOf(spec) &&
    !outcome.chosen.every((pod) => isReady(pod, targetOf(spec)))
  if (before !== undefined && isTriedAgain) return told("Degraded", true, before.reason, before.message)
  const lost = pods.flatMap(({ holds, name }) => "problem" in holds ? [`${name} (${holds.problem})`] : [])
  if (lost.length > 0) return told("Degraded", true, "PodsUnreachable", `no answer from ${listed(lost)}`)
  return told("Degraded", false, "None", "nothing is wrong")
}

/**
 * Conditions with the time of their last change.
 *
 * @category functions
 * @since 0.1.0
 */
export const conditions = (
  before: ReadonlyArray<Condition> | undefined,
  now: number,
  observedGeneration: number,
  all: ReadonlyArray<Told>
): ReadonlyArray<Condition> =>
  all.map((one) => {
    const old = before?.find(({ type }) => type === one.type)
    return {
      ...one,
      message: one.message.slice(0, 1024),
      lastTransitionTime: old?.status === one.status ? old.lastTransitionTime : iso(now),
      observedGeneration
    }
  })
