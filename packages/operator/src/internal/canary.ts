/** The steps of a canary: how it begins, what its calls came to, and whether it goes on or back. */
import * as Duration from "effect/Duration"
import * as Equal from "effect/Equal"
import type { Canary, Spec, Status, Target } from "../BallastModel.ts"
import { find, isReady, type Pod } from "./pods.ts"
import { defaults, fingerprintOf, targetOf } from "./specs.ts"
import { iso, millisOf } from "./times.ts"

/** What a person decided and what came of it so far. */
export interface Memory {
  readonly stable?: Target
  readonly canary?: NonNullable<Status["canary"]>
  readonly turnedBack?: NonNullable<Status["turnedBack"]>
}

const weightOf = ({ steps = defaults.steps, weight = defaults.weight }: Canary, step: number): number =>
  Math.min(99, Math.round(weight + (100 - weight) * step / steps))

export const begin = (
  pods: ReadonlyArray<Pod>,
  spec: Spec,
  canary: Canary,
  step: number,
  now: number
): Memory["canary"] => ({
  version: spec.version,
  fingerprint: fingerprintOf(spec),
  step,
  weight: weightOf(canary, step),
  since: iso(now),
  baseline: Object.fromEntries(pods.flatMap((pod) => {
    const held = find(pod, spec.version)
    return held === undefined ? [] : [[pod.instance, { calls: held.calls, errors: held.errors }]]
  })),
  calls: 0,
  errors: 0
})

/** What the step's calls came to. The latency is the pods' 95th percentiles, each with the weight of its calls. */
const measure = (pods: ReadonlyArray<Pod>, { baseline, version }: NonNullable<Memory["canary"]>) => {
  let calls = 0
  let errors = 0
  let latency = 0
  let timed = 0
  for (const pod of pods) {
    const held = find(pod, version)
    if (held === undefined) continue
    const before = baseline[pod.instance] ?? { calls: 0, errors: 0 }
    const from = held.calls < before.calls ? { calls: 0, errors: 0 } : before
    calls += held.calls - from.calls
    errors += Math.max(0, held.errors - from.errors)
    if (held.p95 === undefined) continue
    latency += held.p95 * (held.calls - from.calls)
    timed += held.calls - from.calls
  }
  return { calls, errors, p95: timed === 0 ? undefined : latency / timed }
}

const percent = (ratio: number): string => `${Number((100 * ratio).toFixed(2))} %`

const turnBack = (
  { maxErrorRatio = defaults.maxErrorRatio, maxLatency, minCalls = defaults.minCalls }: Canary,
  { calls, errors, p95 }: ReturnType<typeof measure>
): { readonly reason: string; readonly message: string } | undefined => {
  // So many errors are too many for the least number of calls too, whatever the rest of them does.
  if (errors > maxErrorRatio * Math.max(calls, minCalls, 1)) {
    return {
      reason: "TooManyErrors",
      message: `${errors} of ${calls} calls failed (${percent(errors / Math.max(calls, 1))}), more than ${
        percent(maxErrorRatio)
      }`
    }
  }
  if (maxLatency === undefined || p95 === undefined || calls < Math.max(1, minCalls)) return undefined
  return p95 <= Duration.toSeconds(maxLatency) ? undefined : {
    reason: "TooSlow",
    message: `the 95th percentile is ${p95.toFixed(3)} s, more than ${Duration.toSeconds(maxLatency)} s`
  }
}

/** The next state of a canary, which the pods chosen are judged by. */
export const goOn = (pods: ReadonlyArray<Pod>, spec: Spec, rule: Canary, memory: Memory, now: number): Memory => {
  const { canary, stable } = memory
  if (canary === undefined) return memory
  const measured = measure(pods, canary)
  const back = turnBack(rule, measured)
  if (back !== undefined) {
    const { fingerprint, step, version, weight } = canary
    const message = `version ${version} was turned back at ${weight} % (step ${step + 1}): ${back.message}`
    return {
      ...(stable && { stable }),
      turnedBack: { version, fingerprint, reason: back.reason, message, at: iso(now) }
    }
  }
  const counted = { ...canary, calls: measured.calls, errors: measured.errors }
  const isDue = now - millisOf(canary.since) >= Duration.toMillis(rule.interval ?? defaults.interval) &&
    measured.calls >= (rule.minCalls ?? defaults.minCalls) &&
    pods.length > 0 && pods.every((pod) => isReady(pod, targetOf(spec)))
  if (!isDue) return { ...memory, canary: counted }
  if (canary.step + 1 >= (rule.steps ?? defaults.steps)) return { stable: targetOf(spec) }
  const next = begin(pods, spec, rule, canary.step + 1, now)
  return { ...memory, ...(next && { canary: next }) }
}

/** Whether a version that serves is asked for with other files. */
export const isReused = ({ stable }: Memory, target: Target): boolean =>
  stable?.version === target.version && !Equal.equals(stable, target)
