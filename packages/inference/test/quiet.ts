import { it } from "@effect/vitest"
import { Effect, References, type Scope } from "effect"

/** A test in real time, without log lines. */
export const quiet = <E>(name: string, test: () => Effect.Effect<void, E, Scope.Scope>) =>
  it.live(name, () => Effect.provideService(test(), References.MinimumLogLevel, "None"))
