/** Shared limits in Redis: each operation is one script. */
import * as Effect from "effect/Effect"
import * as Redis from "effect/persistence/Redis"
import * as redisKeys from "../redis.ts"
import * as lua from "./lua.ts"
import type { Algorithm } from "./spec.ts"
import type { Decision, Hold, Request, Spec } from "./store.ts"

type Reply = readonly [
  admitted: number,
  extra: number,
  wait: string,
  blocked: number,
  remaining: string,
  reset: string,
  at: string
]

type Arguments = ReadonlyArray<string | number>

const makeScript = (source: string) =>
  Redis.script((keys: ReadonlyArray<string>, ...args: Arguments) => [...keys, ...args], {
    lua: source,
    numberOfKeys: (keys: ReadonlyArray<string>, ..._: Arguments) => keys.length
  })

const decision = ([admitted, extra, wait, blocked, remaining, reset, at]: Reply): Decision => ({
  admitted,
  extra,
  wait: wait === "-1" ? Infinity : Number(wait),
  blocked: blocked === 1,
  remaining: Number(remaining),
  reset: Number(reset),
  at: Number(at)
})

export const make = <E>(
  where: string,
  prefix: string,
  failed: (operation: string, cause: unknown, detail: string | undefined) => E
) => {
  const makeKey = redisKeys.makeKey(where, prefix)
  return Effect.map(Redis.Redis, (redis) => {
    const load = (source: string) => redis.eval(makeScript(source).withReturnType<Reply>())
    const scripts = new Map<string, ReturnType<typeof load>>()

    const find = (algorithm: Algorithm, operation: lua.Operation) => {
      const name = `${algorithm}/${operation}`
      const found = scripts.get(name)
      if (found !== undefined) return found
      const script = load(lua.limitScript(algorithm, operation))
      scripts.set(name, script)
      return script
    }

    const said = <A>(
      operation: string,
      keys: ReadonlyArray<string>,
      reply: Effect.Effect<A, Redis.RedisError>
    ): Effect.Effect<A, E> =>
      Effect.mapError(reply, ({ cause }) => failed(operation, cause, redisKeys.remedy(cause, keys)))

    const run = (operation: lua.Operation, key: string, spec: Spec, args: Arguments): Effect.Effect<Reply, E> => {
      const { burst, capacity, interval, limit, warmUp, window } = spec
      const keys = [makeKey(key), makeKey(key, ":log")]
      const script = find(spec.algorithm, operation)
      return said(operation, keys, script(keys, limit, window, burst, warmUp, interval, capacity, ...args))
    }

    const holding = load(lua.holdScript)
    const releasing = load(lua.releaseScript)
    const oneKey = (
      operation: string,
      key: string,
      script: typeof holding,
      ...args: Arguments
    ): Effect.Effect<void, E> => {
      const keys = [makeKey(key)]
      return Effect.asVoid(said(operation, keys, script(keys, ...args)))
    }

    return {
      take: (key: string, spec: Spec, { extra, marked, weights }: Request) =>
        Effect.map(run("take", key, spec, [extra, marked ? 1 : 0, ...weights]), decision),
      peek: (key: string, spec: Spec, weight: number) => Effect.map(run("peek", key, spec, [weight]), decision),
      charge: (key: string, spec: Spec, weight: number) => Effect.asVoid(run("charge", key, spec, [weight])),
      giveBack: (key: string, spec: Spec, weight: number, at: number) =>
        Effect.asVoid(run("giveBack", key, spec, [weight, at])),
      reward: (key: string, spec: Spec, weight: number) => Effect.asVoid(run("reward", key, spec, [weight])),
      hold: (key: string, kind: Hold, millis: number) => oneKey("hold", key, holding, kind, millis),
      release: (key: string, kind: Hold) => oneKey("release", key, releasing, kind)
    }
  })
}
