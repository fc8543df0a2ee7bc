/** Moments as people write them: `7d` ago, a day, or a moment of ISO 8601. */
import { parseTime } from "../ClientKeys.ts"

const units = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const

export const expectedWhen = "a time such as 7d, 12h, 2026-11-01 or 2026-11-01T08:00:00+08:00"

/** Undefined for another text. */
export const parseWhen = (text: string, now: number): number | undefined => {
  const [, count, unit] = /^(\d{1,6})([mhdw])$/.exec(text) ?? []
  return count === undefined ? parseTime(text) : now - Number(count) * units[unit as keyof typeof units] // the pattern's
}

export const isWhen = (text: string): boolean => parseWhen(text, 0) !== undefined
