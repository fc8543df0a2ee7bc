/**
 * The state of a circuit as plain data. Times are given as what is left or as
 * how long ago, so that a process with another clock can go on from it.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Machine from "./machine.ts"
import * as Trip from "./trip.ts"

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const Millis = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))

const Slice = Schema.Struct({ age: Schema.Finite, calls: Count, failures: Count, slow: Count }).check(
  Schema.makeFilter(({ calls, failures, slow }) => failures <= calls && slow <= calls, {
    expected: "no more failures or slow calls than calls"
  })
)

const Counter: Schema.Codec<Trip.Saved> = Schema.Union([
  Schema.TaggedStruct("Consecutive", { of: Schema.Literals(["failures", "slow"]), run: Count }),
  Schema.TaggedStruct("CountWindow", { calls: Schema.Array(Schema.Literals([0, 1, 2, 3])) }),
  Schema.TaggedStruct("TimeWindow", { slices: Schema.Array(Slice) }),
  Schema.Struct({
    _tag: Schema.Literals(["AnyOf", "AllOf"]),
    parts: Schema.Array(Schema.suspend((): Schema.Codec<Trip.Saved> => Counter))
  })
])

/**
 * The state of a circuit breaker as plain data, which survives JSON.
 *
 * **Details**
 *
 * Times are in milliseconds, as what is left or as how long ago, so another
 * process whose clock differs may go on from it. Calls under way are not part
 * of it.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Snapshot = Schema.Struct({
  version: Schema.Literal(1),
  shadow: Schema.Boolean,
  /** Openings in a row so far. */
  openings: Count,
  /** How long the last one was. */
  openFor: Millis,
  /** Whether `open(duration)` said how long, and so may have gone past `maxOpenDuration`. */
  byHand: Schema.Boolean.pipe(Schema.withDecodingDefaultKey(Effect.succeed(false))),
  phase: Schema.Union([
    Schema.TaggedStruct("Closed", { closedFor: Millis, counter: Counter }),
    Schema.TaggedStruct("Open", { left: Millis }),
    Schema.TaggedStruct("HalfOpen", { halfOpenFor: Millis, succeeded: Count, failed: Count }),
    Schema.TaggedStruct("Isolated", {}),
    Schema.TaggedStruct("Disabled", {})
  ])
})

/**
 * The state of a circuit breaker as plain data.
 *
 * @category models
 * @since 0.1.0
 */
export type Snapshot = typeof Snapshot.Type

export const save = (machine: Machine.Machine, now: number): Snapshot => {
  const { byHand, openFor, openings, phase, shadow } = machine
  return { version: 1, shadow, openings, openFor, byHand, phase: savePhase(phase, now) }
}

const savePhase = (phase: Machine.Phase, now: number): Snapshot["phase"] => {
  switch (phase._tag) {
    case "Closed":
      return { _tag: "Closed", closedFor: Math.max(0, now - phase.since), counter: Trip.save(phase.counter, now) }
    case "Open":
      return { _tag: "Open", left: Math.max(0, phase.until - now) }
    case "HalfOpen": {
      const { failed, since, succeeded } = phase
      return { _tag: "HalfOpen", halfOpenFor: Math.max(0, now - since), succeeded, failed }
    }
    case "Isolated":
    case "Disabled":
      return { _tag: phase._tag }
  }
}

const restorePhase = (spec: Machine.Spec, phase: Snapshot["phase"], longest: number, now: number): Machine.Phase => {
  switch (phase._tag) {
    case "Closed":
      return { _tag: "Closed", since: now - phase.closedFor, counter: Trip.restore(spec.trip, phase.counter, now) }
    case "Open":
      return { _tag: "Open", until: now + Math.min(longest, phase.left) }
    case "HalfOpen": {
      const { failed, halfOpenFor, succeeded } = phase
      return { _tag: "HalfOpen", since: now - halfOpenFor, running: new Map(), succeeded, failed }
    }
    case "Isolated":
    case "Disabled":
      return phase
  }
}

/** Goes on from a snapshot; what runs now belongs to an earlier era. */
export const restore = (
  spec: Machine.Spec,
  machine: Machine.Machine,
  snapshot: Snapshot,
  now: number
): ReadonlyArray<Machine.Transition> => {
  const held = snapshot.phase._tag === "Isolated" || snapshot.phase._tag === "Disabled"
  // As by hand: what is isolated is never in shadow too, which would let calls through.
  machine.shadow = snapshot.shadow && !held
  machine.openings = snapshot.openings
  const longest = snapshot.byHand ? Infinity : spec.maxOpenDuration
  machine.openFor = Math.min(longest, snapshot.openFor)
  machine.byHand = snapshot.byHand
  const transition = Machine.become(machine, restorePhase(spec, snapshot.phase, longest, now), "imported")
  // Fewer probes may do here than where it was exported.
  const decided = Machine.decide(spec, machine, undefined, () => now)
  return decided === undefined ? [transition] : [transition, decided]
}
