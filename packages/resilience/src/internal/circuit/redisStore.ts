/** Shared circuits in Redis: the script of `lua.ts` behind the store's interface. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redis from "effect/persistence/Redis"
import * as Schema from "effect/Schema"
import * as check from "../check.ts"
import { makeKey, remedy } from "../redis.ts"
import * as lua from "./lua.ts"
import { defaults as memoryDefaults, type MemoryOptions } from "./memoryStore.ts"
import type { CircuitBreakerStore, CircuitBreakerStoreError, Spec, State } from "./store.ts"

/**
 * Options of the store in Redis.
 *
 * @category options
 * @since 0.1.0
 */
export interface RedisOptions extends MemoryOptions {
  /** What its keys begin with, without braces. Default `"ballast:circuit"`. */
  readonly prefix?: string | undefined
  /**
   * How long what was set by hand (isolate, disable, shadow) is kept after the last request for its key, above zero;
   * every key in Redis expires. Default 30 days.
   */
  readonly manualTimeToLive?: Duration.Input | undefined
}

const defaults = { ...memoryDefaults, prefix: "ballast:circuit", manualTimeToLive: "30 days" } as const

const Phase = Schema.Literals(["Closed", "Open", "HalfOpen", "Isolated", "Disabled"])

const Reply = Schema.Struct({
  view: Schema.Struct({
    phase: Phase,
    era: Schema.String,
    shadow: Schema.Boolean,
    openings: Schema.Number,
    left: Schema.optional(Schema.Number),
    free: Schema.optional(Schema.Boolean)
  }),
  transitions: Schema.optional(Schema.Array(Schema.Struct({
    from: Phase,
    to: Phase,
    because: Schema.Literals([
      "consecutive",
      "failure-rate",
      "slow-rate",
      "open-time-over",
      "probes-failed",
      "probes-succeeded",
      "manual",
      "imported"
    ]),
    openFor: Schema.optional(Schema.Number)
  }))),
  probe: Schema.optional(Schema.Number),
  replaced: Schema.optional(Schema.Boolean),
  counted: Schema.optional(Schema.Struct({ calls: Schema.Number, failures: Schema.Number, slow: Schema.Number })),
  probes: Schema.optional(Schema.Struct({ running: Schema.Number, succeeded: Schema.Number, failed: Schema.Number }))
})

const decodeReply = Schema.decodeUnknownEffect(Schema.fromJsonString(Reply))

type Operation = "admit" | "record" | "control" | "inspect"

/** What an operation is for, in the words of an error. */
const purpose = {
  admit: "admit a call",
  record: "record results",
  control: "set a circuit",
  inspect: "read a circuit"
} as const

/** `clock` is the part of the script that reads the time; tests bring their own. */
export const make = (
  where: string,
  options: RedisOptions | undefined,
  failure: (operation: string, cause: unknown, detail: string | undefined) => CircuitBreakerStoreError,
  clock = lua.serverClock
): Effect.Effect<CircuitBreakerStore["Service"], never, Redis.Redis> => {
  const keyOf = makeKey(where, options?.prefix ?? defaults.prefix)
  const millis = (field: "idleTimeToLive" | "manualTimeToLive") =>
    Math.ceil(check.positive(where, field, options?.[field] ?? defaults[field]))
  const idle = millis("idleTimeToLive")
  const manual = millis("manualTimeToLive")
  const script = Redis.script(
    (key: string, operation: Operation, spec: string, argument: string) => [
      keyOf(key),
      operation,
      spec,
      argument,
      idle,
      manual
    ],
    { numberOfKeys: 1, lua: lua.makeScript(clock) }
  ).withReturnType<string>()

  return Effect.map(Redis.Redis, (redis) => {
    const run = redis.eval(script)
    /** A spec is encoded once, however many calls are held to it. */
    const encoded = new WeakMap<Spec, string>()
    const encode = (spec: Spec): string => {
      const found = encoded.get(spec)
      if (found !== undefined) return found
      const text = JSON.stringify(spec)
      encoded.set(spec, text)
      return text
    }
    const ask = (operation: Operation, key: string, spec: Spec, argument: unknown) =>
      run(key, operation, encode(spec), JSON.stringify(argument)).pipe(
        Effect.flatMap(decodeReply),
        Effect.mapError((cause) => failure(purpose[operation], cause, remedy(cause, [keyOf(key)])))
      )

    return {
      admit: (key, spec) =>
        Effect.map(ask("admit", key, spec, {}), ({ probe, replaced = false, transitions = [], view }) => ({
          view,
          transitions,
          probe,
          replaced
        })),
      record: (key, spec, results) =>
        Effect.map(ask("record", key, spec, results), ({ transitions = [], view }) => ({ view, transitions })),
      control: (key, spec, command) =>
        Effect.map(ask("control", key, spec, command), ({ transitions = [], view }) => ({ view, transitions })),
      inspect: (key, spec) => Effect.map(ask("inspect", key, spec, {}), stateOf)
    }
  })
}

const noCounts = { calls: 0, failures: 0, slow: 0 }
const noProbes = { running: 0, succeeded: 0, failed: 0 }

const stateOf = ({ counted, probes, view: { left = 0, openings, phase, shadow } }: typeof Reply.Type): State => {
  switch (phase) {
    case "Closed":
      return { _tag: "Closed", ...noCounts, ...counted, shadow, openings }
    case "Open":
      return left > 0
        ? { _tag: "Open", retryAfter: Duration.millis(Math.ceil(left)), openings, shadow }
        : { _tag: "HalfOpen", ...noProbes, shadow, openings }
    case "HalfOpen":
      return { _tag: "HalfOpen", ...noProbes, ...probes, shadow, openings }
    case "Isolated":
    case "Disabled":
      return { _tag: phase, openings }
  }
}
