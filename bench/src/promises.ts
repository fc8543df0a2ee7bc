import { inFlight, type Side } from "./measure.ts"

/** The work of every policy bench, as a promise. */
const one = (): Promise<number> => Promise.resolve(1)

type Around = (call: () => Promise<number>) => Promise<number>

/** A side that puts something around each call. */
export const promises = (make: () => Around) => async (_url: string, lanes: number): Promise<Side> => {
  const around = make()
  return inFlight(lanes, () => around(one))
}

/** A side that counts the calls that are rejected with an error of its own; a call that runs fails the bench. */
export const rejected =
  (make: () => Around, isRejection: (error: unknown) => boolean) =>
  async (_url: string, lanes: number): Promise<Side> => {
    const around = make()
    return inFlight(lanes, async () => {
      try {
        await around(one)
        return NaN
      } catch (error) {
        return isRejection(error) ? 1 : NaN
      }
    })
  }

/** Starts crowds of calls, each when all of the one before have ended. */
export const crowds = (make: () => Around) => async (_url: string, size: number): Promise<Side> => {
  const around = make()
  return async (operations) => {
    let sum = 0
    for (let done = 0; done < operations; done += size) {
      const results = await Promise.all(Array.from({ length: size }, () => around(one)))
      sum += results.reduce((sum, result) => sum + result, 0)
    }
    return sum
  }
}
