/** Services that judge by rules. */
import * as Effect from "effect/Effect"
import type { Evaluate } from "./contract.ts"
import type { Rule } from "./settings.ts"

export const applyRules = Effect.fnUntraced(function*({ rules }: typeof Rule.Type, evaluate: Evaluate) {
  for (const { then, when } of rules) {
    if (when === undefined || (yield* evaluate(when)) === true) return yield* evaluate(then)
  }
  return null
})
