/** From what the rules say of each frame to warnings that a person wants to read: one when something begins, and one when it gets worse. */
import { Service } from "@ballast/workflow"
import { Effect, Schema } from "effect"
import { clock, districts, type Planted, sensorName } from "./city.ts"

export const Warning = Schema.Struct({
  /** Minutes since midnight. */
  at: Schema.Int,
  kind: Schema.Literals(["jam", "sensor"]),
  place: Schema.String,
  level: Schema.Literals(["watch", "alarm", "failed"])
})

export type Warning = typeof Warning.Type

const severity = { none: 0, watch: 1, alarm: 2, failed: 2 } as const

const Input = Schema.Struct({
  at: Schema.Int,
  jams: Schema.Array(Schema.Literals(["none", "watch", "alarm"])),
  sensors: Schema.Array(Schema.Literals(["none", "failed"]))
})

/** What has been calm for that many minutes is over: a warning after that is a new one. */
const calm = 30

/** The service that publishes. Called again with the same frame, it publishes nothing. */
export const make = (publish: (warning: Warning) => Effect.Effect<void>): Service.Service => {
  const open = new Map<string, { readonly level: Warning["level"]; readonly seen: number }>()
  const judge = (at: number, kind: Warning["kind"], place: string, level: keyof typeof severity) => {
    const key = `${kind} ${place}`
    const before = open.get(key)
    const going = before !== undefined && at - before.seen <= calm ? before : undefined
    if (level === "none") return Effect.void
    const worse = going === undefined || severity[level] > severity[going.level]
    open.set(key, { level: worse ? level : going.level, seen: at })
    return worse ? publish({ at, kind, place, level }) : Effect.void
  }
  return {
    call: Effect.fnUntraced(function*(input) {
      const { at, jams, sensors } = yield* Schema.decodeUnknownEffect(Input)(input).pipe(
        Effect.mapError((error) => new Service.ServiceError({ detail: error.message, retryable: false }))
      )
      yield* Effect.forEach(jams, (level, index) => judge(at, "jam", districts[index] ?? "", level))
      yield* Effect.forEach(sensors, (level, index) => judge(at, "sensor", sensorName(index), level))
    })
  }
}

export const line = ({ at, kind, level, place }: Warning): string => `${clock(at)} ${kind} ${place}: ${level}`

/** How the warnings compare with what was planted: a warning that belongs to no planted event is false. */
export const score = (planted: ReadonlyArray<Planted>, warnings: ReadonlyArray<Warning>) => {
  const belongs = (warning: Warning) => (event: Planted) =>
    warning.kind === event.kind && warning.place === event.place && event.from <= warning.at && warning.at < event.until
  return {
    events: planted.map((event) => ({ event, warned: warnings.find((warning) => belongs(warning)(event))?.at })),
    falseWarnings: warnings.filter((warning) => !planted.some(belongs(warning))).length
  }
}
