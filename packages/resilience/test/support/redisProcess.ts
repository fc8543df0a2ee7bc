import { Effect, type Scope } from "effect"
import { freePort } from "../../../../test/support/freePort.ts"
import { startRedis, stop } from "../../../../test/support/serverProcess.ts"

/** A Redis on one port that can be killed and started again, without what it knew. */
export const make: Effect.Effect<
  { readonly url: string; readonly kill: Effect.Effect<void>; readonly restart: Effect.Effect<void> },
  never,
  Scope.Scope
> = Effect.gen(function*() {
  const port = yield* Effect.promise(freePort)
  let server = yield* Effect.orDie(startRedis(port))
  yield* Effect.addFinalizer(() => stop(server))
  return {
    url: `redis://127.0.0.1:${port}`,
    kill: Effect.suspend(() => stop(server)),
    restart: Effect.map(Effect.orDie(startRedis(port)), (started) => {
      server = started
    })
  }
})
