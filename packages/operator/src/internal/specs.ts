/** What a spec says of a version: which it is, and how it is rolled out. */
import * as Duration from "effect/Duration"
import { createHash } from "node:crypto"
import type { Spec, Target } from "../BallastModel.ts"

/** What a canary does where its spec says nothing. */
export const defaults = {
  weight: 10,
  steps: 3,
  interval: Duration.minutes(5),
  maxErrorRatio: 0.01,
  minCalls: 50
} as const

export const targetOf = ({ golden, sha256, source, version }: Spec): Target => ({
  source,
  version,
  ...(sha256 !== undefined && { sha256 }),
  ...(golden !== undefined && { golden })
})

const canonical = (_: string, value: unknown): unknown =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => a < b ? -1 : 1))
    : value

const hash = (value: unknown): string =>
  createHash("sha256").update(JSON.stringify(value, canonical)).digest("hex").slice(0, 16)

/** Stands for the part of a spec that says what is rolled out and how. */
export const fingerprintOf = (spec: Spec): string => {
  const { canary } = spec
  return hash({
    ...targetOf(spec),
    canary: canary && {
      ...canary,
      ...(canary.interval && { interval: Duration.toMillis(canary.interval) }),
      ...(canary.maxLatency && { maxLatency: Duration.toMillis(canary.maxLatency) })
    }
  })
}
