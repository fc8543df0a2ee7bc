/** The simulator's settings with their defaults filled in and their bounds checked. */
import * as Duration from "effect/Duration"
import * as Struct from "effect/Struct"
import type { Fault, Planned } from "../Fault.ts"
import type { SimulatorOptions } from "../SimulatorOptions.ts"
import * as FaultValues from "./faultValues.ts"

/** All settings, times in milliseconds. */
export interface Settings {
  readonly seed: string
  readonly reply: SimulatorOptions["reply"]
  readonly keys: ReadonlySet<string> | undefined
  readonly latency: number
  readonly timeToFirstToken: number
  readonly tokensPerSecond: number
  readonly jitter: number
  readonly keepAlive: number
  readonly concurrency: { readonly "deepseek-flash": number; readonly "deepseek-v4-pro": number }
  readonly balance: { readonly currency: "CNY" | "USD"; readonly granted: number; readonly toppedUp: number }
  readonly billing: boolean
  readonly replayCheck: "documented" | "observed" | "off"
  readonly cacheSize: number
  readonly plan: ReadonlyArray<Planned>
}

const defaults = {
  seed: "ballast",
  latency: "20 millis",
  timeToFirstToken: "300 millis",
  tokensPerSecond: 300,
  jitter: 0.3,
  keepAlive: "10 seconds",
  concurrency: { "deepseek-flash": 2_500, "deepseek-v4-pro": 500 },
  balance: { currency: "CNY", granted: 10, toppedUp: 100 },
  cacheSize: 65_536
} as const

const bounded = (name: string, value: number, min: number, max: number): number => {
  if (value >= min && value <= max) return value
  throw new RangeError(`Simulator.make: ${name} must be in [${min}, ${max}], got ${value}`)
}

const positive = (name: string, value: number): number => {
  if (value > 0) return value
  throw new RangeError(`Simulator.make: ${name} must be above 0, got ${value}`)
}

const millis = (name: string, input: Duration.Input): number => bounded(name, Duration.toMillis(input), 0, Infinity)

const checkFault = (fault: Fault): void => {
  for (const name of Struct.keys(FaultValues.bounds)) {
    const value = fault[name]
    const range = FaultValues.bounds[name]
    if (value !== undefined && !FaultValues.isWithin(value, range)) {
      throw new RangeError(
        `Simulator.make: plan.fault.${name} must be a whole number from ${range[0]} to ${range[1]}, got ${value}`
      )
    }
  }
  for (const name of ["retryAfter", "location"] as const) {
    const value = fault[name]
    if (value !== undefined && !FaultValues.isHeaderValue(value)) {
      throw new RangeError(`Simulator.make: plan.fault.${name} must be printable ASCII, got ${JSON.stringify(value)}`)
    }
  }
  for (const name of ["latency", "timeToFirstToken"] as const) millis(`plan.fault.${name}`, fault[name] ?? 0)
  positive("plan.fault.tokensPerSecond", fault.tokensPerSecond ?? 1)
}

const checkPlan = (planned: Planned): Planned => {
  const { fault, from = 0, nth = 1, probability = 1, to = 0 } = planned
  millis("plan.from", from)
  millis("plan.to", to)
  bounded("plan.probability", probability, 0, 1)
  for (const number of typeof nth === "number" ? [nth] : nth) bounded("plan.nth", number, 1, Infinity)
  checkFault(fault)
  return planned
}

/** Fills in the defaults. A value out of bounds is a `RangeError`. */
export const resolve = (options: SimulatorOptions): Settings => ({
  seed: String(options.seed ?? defaults.seed),
  reply: options.reply,
  keys: options.keys && new Set(options.keys),
  latency: millis("latency", options.latency ?? defaults.latency),
  timeToFirstToken: millis("timeToFirstToken", options.timeToFirstToken ?? defaults.timeToFirstToken),
  tokensPerSecond: positive("tokensPerSecond", options.tokensPerSecond ?? defaults.tokensPerSecond),
  jitter: bounded("jitter", options.jitter ?? defaults.jitter, 0, 1),
  keepAlive: positive("keepAlive", Duration.toMillis(options.keepAlive ?? defaults.keepAlive)),
  concurrency: {
    "deepseek-flash": bounded(
      "concurrency",
      options.concurrency?.["deepseek-flash"] ?? defaults.concurrency["deepseek-flash"],
      0,
      Infinity
    ),
    "deepseek-v4-pro": bounded(
      "concurrency",
      options.concurrency?.["deepseek-v4-pro"] ?? defaults.concurrency["deepseek-v4-pro"],
      0,
      Infinity
    )
  },
  balance: {
    currency: options.balance?.currency ?? defaults.balance.currency,
    granted: bounded("balance.granted", options.balance?.granted ?? defaults.balance.granted, 0, Infinity),
    toppedUp: bounded("balance.toppedUp", options.balance?.toppedUp ?? defaults.balance.toppedUp, 0, Infinity)
  },
  billing: options.billing ?? false,
  replayCheck: options.replayCheck ?? "documented",
  cacheSize: bounded("cacheSize", options.cacheSize ?? defaults.cacheSize, 0, Infinity),
  plan: (options.plan ?? []).map(checkPlan)
})
