/** What the values of a fault may be, in a plan as in a header. */
import { maxOutput } from "./models.ts"

/** Least and greatest of the whole numbers. */
export const bounds = {
  status: [200, 599],
  keepAlive: [0, 1_000_000],
  padding: [0, 1_000_000],
  stall: [0, 1_000_000],
  cut: [0, 1_000_000],
  end: [0, 1_000_000],
  error: [0, 1_000_000],
  after: [0, maxOutput],
  tokens: [1, maxOutput],
  calls: [0, 100]
} as const

export const isWithin = (value: number, [min, max]: readonly [number, number]): boolean =>
  Number.isInteger(value) && value >= min && value <= max

/** Whether a text can be sent as the value of a header: printable ASCII that neither begins nor ends with a space. */
export const isHeaderValue = (text: string): boolean => /^[!-~](?:[ -~]*[!-~])?$/.test(text)
