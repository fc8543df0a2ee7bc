/** Why something may not be done with a run. */
import * as Effect from "effect/Effect"
import { Rejection } from "../../Rejection.ts"

export const conflict = (detail: string) => Effect.fail(new Rejection({ case: "RunConflict", detail }))

/** Names for an answer. */
export const named = (names: ReadonlyArray<string>): string => names.slice(0, 50).join(", ") || "none"
