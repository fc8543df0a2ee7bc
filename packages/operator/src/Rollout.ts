/**
 * What to do for a model: a pure function of its spec, its status, what the gateways say, and the time.
 *
 * A wished version is loaded beside the one that serves. When it is ready on all pods it takes all calls at once, or by the steps of a canary.
 * A step is judged by what happened since it began: the difference of each pod's counters. More errors or a higher latency than allowed turn
 * the version back; it is not tried again until its part of the spec changes. A version leaves a pod when it has no weight there.
 * A pod that has nothing loaded is brought to the same state by the same rules. Nothing is done to a pod that does not answer.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Equal from "effect/Equal"
import type { Spec, Status, Target } from "./BallastModel.ts"
import { begin, goOn, isReused, type Memory } from "./internal/canary.ts"
import { conditions, degraded, failureOf, progressing, ready } from "./internal/conditions.ts"
import { choose, find, heldBy, isReady, type Pod, type Situation } from "./internal/pods.ts"
import { fingerprintOf, targetOf } from "./internal/specs.ts"
import { iso, millisOf } from "./internal/times.ts"

export { conditions } from "./internal/conditions.ts"
export type { Loaded, Pod, Situation } from "./internal/pods.ts"

/**
 * @category models
 * @since 0.1.0
 */
export type Action =
  | { readonly do: "load"; readonly target: Target }
  | { readonly do: "weigh"; readonly weights: Readonly<Record<string, number>> }
  | { readonly do: "unload"; readonly version: string }
  | { readonly do: "label"; readonly serving: boolean }

/**
 * @category models
 * @since 0.1.0
 */
export interface Decision {
  readonly status: Status
  /** For each pod in the order in which they are done. */
  readonly actions: ReadonlyArray<{ readonly pod: string; readonly actions: ReadonlyArray<Action> }>
  /** When to look again at the latest. */
  readonly again: Duration.Duration
}

const looks = { acting: Duration.seconds(1), moving: Duration.seconds(5), settled: Duration.seconds(30) } as const

/** Between two tries of a version that can't be loaded, in milliseconds: twice as long each time. */
const retryDelay = (attempts: number): number => Math.min(30_000 * 2 ** Math.max(0, attempts - 1), 600_000)

/** Forgets what a change of the spec has ended, and goes one step on where that is due. */
const advance = ({ now, spec, status }: Situation, chosen: ReadonlyArray<Pod>): Memory => {
  const { canary, stable, turnedBack } = status
  const target = targetOf(spec)
  const fingerprint = fingerprintOf(spec)
  const isEverywhere = chosen.length > 0 && chosen.every((pod) => isReady(pod, target))
  if (stable === undefined) return isEverywhere ? { stable: target } : {}
  if (Equal.equals(stable, target) || isReused({ stable }, target)) return { stable }
  if (turnedBack?.fingerprint === fingerprint) return { stable, turnedBack }
  if (canary?.fingerprint === fingerprint) return goOn(chosen, spec, spec.canary ?? {}, { stable, canary }, now)
  if (!isEverywhere) return { stable }
  if (spec.canary === undefined) return { stable: target }
  const first = begin(chosen, spec, spec.canary, 0, now)
  return { stable, ...(first && { canary: first }) }
}

/** The version that is to take over, if there is one. */
const candidateOf = (spec: Spec, memory: Memory): Target | undefined => {
  const target = targetOf(spec)
  const isOver = memory.turnedBack !== undefined || isReused(memory, target) || Equal.equals(memory.stable, target)
  return isOver ? undefined : target
}

/** The weights of a pod, or undefined while it can't serve as wished. */
const weightsOf = (
  pod: Pod,
  { canary, stable }: Memory,
  candidate: Target | undefined
): Readonly<Record<string, number>> | undefined => {
  if (stable !== undefined && !isReady(pod, stable)) return undefined
  const isNext = candidate !== undefined && isReady(pod, candidate)
  if (stable === undefined) return isNext ? { [candidate.version]: 100 } : undefined
  if (!isNext || canary === undefined) return { [stable.version]: 100 }
  return { [stable.version]: 100 - canary.weight, [candidate.version]: canary.weight }
}

/** Versions that are left out may keep their weight, so each one that could have calls is named. */
const named = (pod: Pod, weights: Readonly<Record<string, number>>): Readonly<Record<string, number>> => ({
  ...Object.fromEntries(heldBy(pod).filter(({ state }) => state === "ready").map(({ version }) => [version, 0])),
  ...weights
})

const isWeighed = (pod: Pod, weights: Readonly<Record<string, number>>): boolean =>
  heldBy(pod).every(({ version, weight }) => weight === (weights[version] ?? 0))

/** Takes a pod to where it should be. */
const drive = (
  pod: Pod,
  memory: Memory,
  candidate: Target | undefined,
  retries: boolean
): ReadonlyArray<Action> => {
  const { stable } = memory
  const wanted = [stable, candidate].filter((target) => target !== undefined)
  const loads = wanted.filter(({ version }) => {
    // The first version in a pod has all its calls, which must not be the candidate.
    if (version !== stable?.version && stable !== undefined && !isReady(pod, stable)) return false
    const held = find(pod, version)
    return held === undefined || (held.state === "failed" && retries)
  })
  const weights = weightsOf(pod, memory, candidate)
  const serves = weights !== undefined && isWeighed(pod, weights)
  const leaving = heldBy(pod).filter(({ state, version, weight }) =>
    weight === 0 && state !== "draining" && !wanted.some((target) => target.version === version)
  )
  return [
    // A pod is asked for by its label only while it serves.
    ...(pod.labelled && weights === undefined ? [{ do: "label", serving: false } as const] : []),
    ...loads.map((target) => ({ do: "load", target }) as const),
    ...(weights === undefined || serves ? [] : [{ do: "weigh", weights: named(pod, weights) } as const]),
    ...(!pod.labelled && serves ? [{ do: "label", serving: true } as const] : []),
    ...leaving.map(({ version }) => ({ do: "unload", version }) as const)
  ]
}

/**
 * What a pod does that should not hold the model.
 *
 * @category functions
 * @since 0.1.0
 */
export const clear = (pod: Pod): ReadonlyArray<Action> => [
  ...(pod.labelled ? [{ do: "label", serving: false } as const] : []),
  ...heldBy(pod).filter(({ state }) => state !== "draining").map(({ version }) => ({ do: "unload", version }) as const)
]

const isRetryDue = ({ now, status: { retry } }: Situation, fingerprint: string): boolean =>
  retry?.fingerprint !== fingerprint || now - millisOf(retry.at) >= retryDelay(retry.attempts)

/**
 * Decides what to do now.
 *
 * @category functions
 * @since 0.1.0
 */
export const decide = (situation: Situation): Decision => {
  const { generation, now, pods, spec, status } = situation
  const chosen = choose(pods, spec.replicas)
  const memory = advance(situation, chosen)
  const candidate = candidateOf(spec, memory)
  const reached = (pod: Pod): boolean => !("problem" in pod.holds)
  const serving = chosen.filter((pod) => {
    const weights = weightsOf(pod, memory, candidate)
    return reached(pod) && memory.stable !== undefined && weights !== undefined && isWeighed(pod, weights)
  }).length
  const outcome = { situation, memory, candidate, chosen, serving, wished: spec.replicas ?? pods.length }
  const fingerprint = fingerprintOf(spec)
  const hasFailed = failureOf(outcome) !== undefined
  const retries = hasFailed && isRetryDue(situation, fingerprint)
  const attempts = status.retry?.fingerprint === fingerprint ? status.retry.attempts : 0
  const actions = pods.filter(reached).map((pod) => ({
    pod: pod.name,
    actions: chosen.includes(pod) ? drive(pod, memory, candidate, retries) : clear(pod)
  })).filter(({ actions }) => actions.length > 0)
  const all = [ready(outcome), progressing(outcome), degraded(outcome)]
  const isSettled = all.map(({ status }) => status).join() === "True,False,False"
  const retry = retries
    ? { fingerprint, attempts: attempts + 1, at: iso(now) }
    : attempts > 0 && !isSettled
    ? status.retry
    : undefined
  return {
    status: {
      observedGeneration: generation,
      ...memory,
      ...(retry && { retry }),
      pods: outcome.wished,
      readyPods: serving,
      conditions: conditions(status.conditions, now, generation, all)
    },
    actions,
    again: actions.length > 0 ? looks.acting : isSettled ? looks.settled : looks.moving
  }
}
