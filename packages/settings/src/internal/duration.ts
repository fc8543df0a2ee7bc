/** Lengths of time as settings files write them: `250ms`, `30s`, `1h30m`. */
import * as Duration from "effect/Duration"

const millis: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const part = /(\d+(?:\.\d+)?)(ms|s|m|h|d)/g

/** Reads `1h30m`; undefined for what is no length of time. */
export const parseDuration = (text: string): Duration.Duration | undefined => {
  const parts = text.replaceAll(" ", "")
  if (parts === "" || parts.replace(part, "") !== "") return undefined
  return Duration.millis(
    Array.from(parts.matchAll(part)).reduce((sum, [, n, unit = ""]) => sum + Number(n) * (millis[unit] ?? 0), 0)
  )
}

/** Checks the time between two looks: without one, looks would follow each other without a pause. */
export const interval = (where: string, input: Duration.Input): Duration.Duration => {
  // Effect takes NaN for zero.
  const duration = Duration.fromInput(input)
  if (duration._tag === "Some" && Duration.toMillis(duration.value) > 0) return duration.value
  throw new RangeError(`${where}: interval must be a duration above zero, got ${String(input)}`)
}

/** Writes a length of time as it is read. */
export const formatDuration = (duration: Duration.Duration): string => {
  let rest = Duration.toMillis(duration)
  if (rest === 0) return "0s"
  return Object.entries(millis).reverse().map(([unit, size]) => {
    const count = unit === "ms" ? rest : Math.floor(rest / size)
    rest -= count * size
    return count === 0 ? "" : `${count}${unit}`
  }).join("")
}
