import { unit } from "./tokens.ts"

/**
 * The service's context cache: which beginnings of prompts it has seen, in units of 128 tokens, apart for every scope (key and
 * `user_id`). The units used least recently are dropped when `size` of them are kept.
 */
export interface PromptCache {
  /** How many tokens at the start of the prompt are known. At least one token is always a miss. */
  readonly lookup: (scope: string, units: ReadonlyArray<string>, tokens: number) => number
  readonly store: (scope: string, units: ReadonlyArray<string>) => void
}

export const make = (size: number): PromptCache => {
  const known = new Set<string>()
  const keys = (scope: string, units: ReadonlyArray<string>) => units.map((hash, index) => `${scope}/${index}/${hash}`)

  return {
    lookup(scope, units, tokens) {
      const miss = keys(scope, units).findIndex((key) => !known.has(key))
      const hits = miss === -1 ? units.length : miss
      return Math.min(hits, Math.floor((tokens - 1) / unit)) * unit
    },
    store(scope, units) {
      // Last units first, so that the beginning of a prompt, which the others need, stays longest.
      for (const key of keys(scope, units).reverse()) {
        known.delete(key)
        known.add(key)
      }
      for (const key of known) {
        if (known.size <= size) break
        known.delete(key)
      }
    }
  }
}
