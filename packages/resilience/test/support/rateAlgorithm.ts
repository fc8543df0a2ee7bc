import * as Algorithm from "../../src/internal/rate/algorithm.ts"

/** A limit of ten a second unless told otherwise, to be asked and used at any time. */
export const use = (algorithm: Algorithm.Algorithm, options: Partial<Algorithm.Spec> = {}) => {
  let spec = Algorithm.makeSpec({ algorithm, limit: 10, window: 1_000, burst: 10, warmUp: 0, ...options })
  const state = Algorithm.initial(spec, 0)
  return {
    state,
    take: (now: number, weight = 1) => Algorithm.take(spec, state, now, weight),
    mark: (now: number) => Algorithm.mark(state, now),
    giveBack: (now: number, at: number, weight: number) => Algorithm.giveBack(spec, state, now, at, weight),
    reward: (now: number, weight: number) => Algorithm.reward(spec, state, now, weight),
    wait: (now: number, weight = 1, ahead = 0) => Algorithm.waitFor(spec, state, now, weight, ahead),
    available: (now: number) => Math.round(Algorithm.available(spec, state, now) * 1_000) / 1_000,
    resetAfter: (now: number) => Algorithm.resetAfter(spec, state, now),
    convert: (now: number, options: Partial<Algorithm.Spec>) => {
      const to = Algorithm.makeSpec({ ...spec, ...options })
      Algorithm.convert(spec, to, state, now)
      spec = to
    }
  }
}
