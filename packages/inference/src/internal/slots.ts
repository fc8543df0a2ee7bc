/** What is told of a version, and the order of versions. */
import * as Repository from "../Repository.ts"
import { bytesOf } from "./deployment.ts"
import type { Slot } from "./fleet.ts"
import type { State, VersionInfo } from "./service.ts"

export const stateOf = ({ leaving, live, loading, refused }: Slot): State =>
  live !== undefined
    ? "ready"
    : loading !== undefined
    ? "loading"
    : leaving > 0
    ? "draining"
    : refused !== undefined
    ? "failed"
    : "unloaded"

export const reasonOf = (slot: Slot): string | undefined => {
  switch (stateOf(slot)) {
    case "ready":
      if (slot.refused !== undefined) return `its changed files were refused: ${slot.refused}`
      return slot.source.settings.golden.length === 0 ? "not verified: it has no golden inputs" : undefined
    case "failed":
      return slot.refused
    case "draining":
    case "unloaded":
      return slot.unloaded
    case "loading":
      return undefined
  }
}

export const newestFirst = (versions: ReadonlyMap<string, Slot>): Array<Slot> =>
  [...versions.values()].sort((a, b) => Repository.compare(b.version, a.version))

export const infoOf = (slot: Slot, total: number): VersionInfo => {
  const [p50 = 0, p95 = 0] = slot.recent.percentiles(0.5, 0.95)
  return {
    name: slot.name,
    version: slot.version,
    state: stateOf(slot),
    reason: reasonOf(slot),
    weight: total === 0 ? 0 : slot.weight / total,
    calls: slot.calls,
    errors: slot.errors,
    latency: { p50, p95 },
    inFlight: slot.live?.inFlight ?? 0,
    queued: slot.live?.queued() ?? 0,
    bytes: bytesOf(slot.source)
  }
}

export const totalOf = (versions: ReadonlyMap<string, Slot>): number =>
  [...versions.values()].reduce((sum, { weight }) => sum + weight, 0)

/** Whether the version could take a call, perhaps after it was loaded. */
export const isUsable = ({ live, refused, stopped }: Slot): boolean =>
  live !== undefined || (refused === undefined && !stopped)
