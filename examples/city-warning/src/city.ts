/** A made-up city: how busy its streets usually are, and a day in which two things go wrong. */
import { Effect, Random } from "effect"

export const districts = ["Harbour", "Old Town", "Station", "University"] as const

/** Sensors of a district. Sensor `i` of the city belongs to district `floor(i / 4)`. */
export const perDistrict = 4

export const sensors = districts.length * perDistrict

export const districtOf = (sensor: number): number => Math.floor(sensor / perDistrict)

export const sensorName = (sensor: number): string => `${districts[districtOf(sensor)]} ${sensor % perDistrict + 1}`

/** A day has a frame every ten minutes, from 5:00 to 21:00, as minutes since midnight. */
const moments = Array.from({ length: 96 }, (_, index) => 5 * 60 + index * 10)

/** Vehicles that fit on the stretch of road that a sensor sees. */
export const capacity = 180

const bump = (hour: number, middle: number, width: number) => Math.exp(-(((hour - middle) / width) ** 2) / 2)

/** Vehicles that a sensor usually sees at an hour of the day, which may have a fraction. */
export const usual = (hour: number, sensor: number): number => {
  const size = 0.85 + 0.1 * (sensor % perDistrict)
  const morning = 1 - 0.1 * districtOf(sensor)
  return 100 * size *
    (0.08 + 0.75 * morning * bump(hour, 8, 1.5) + 0.45 * bump(hour, 13, 3) + 0.7 * bump(hour, 17.5, 1.5))
}

/** What all sensors count at a moment: `at` is in minutes since midnight. */
export interface Frame {
  readonly at: number
  readonly counts: ReadonlyArray<number>
}

/** What goes wrong, and when, in minutes since midnight. The place is a district of a jam, and a sensor that fails. */
export interface Planted {
  readonly kind: "jam" | "sensor"
  readonly place: string
  readonly from: number
  readonly until: number
}

export interface Day {
  readonly frames: ReadonlyArray<Frame>
  readonly planted: ReadonlyArray<Planted>
}

/** How many times as many vehicles there are in a jam: more and more for an hour, then that many until it ends at once. */
const jammed = ({ from }: Planted, at: number): number => 1 + 1.2 * Math.min(1, (at - from) / 60)

const isDuring = ({ from, until }: Planted, at: number) => from <= at && at < until

const normal = Effect.map(
  Effect.all([Random.next, Random.next]),
  ([a, b]) => Math.sqrt(-2 * Math.log(1 - a)) * Math.cos(2 * Math.PI * b)
)

/**
 * A day, by chance: where it goes wrong, by how much the whole day is busier or quieter than usual (5 %), and the noise of each count, whose
 * variance is that of counting.
 */
export const day: Effect.Effect<Day> = Effect.gen(function*() {
  const broken = yield* Random.nextIntBetween(0, sensors - 1)
  const slow = yield* Random.nextIntBetween(0, districts.length - 1)
  const failure: Planted = { kind: "sensor", place: sensorName(broken), from: 10 * 60 + 30, until: 12 * 60 }
  const jam: Planted = { kind: "jam", place: districts[slow] ?? "", from: 16 * 60 + 40, until: 18 * 60 + 30 }
  const business = yield* Random.nextBetween(0.95, 1.05)
  const count = Effect.fnUntraced(function*(at: number, sensor: number) {
    const more = districtOf(sensor) === slow && isDuring(jam, at) ? jammed(jam, at) : 1
    const expected = usual(at / 60, sensor) * business * more
    const seen = expected + Math.sqrt(expected) * (yield* normal)
    return sensor === broken && isDuring(failure, at) ? 0 : Math.max(0, Math.round(seen))
  })
  const frames = yield* Effect.forEach(moments, (at) =>
    Effect.map(
      Effect.forEach(Array.from({ length: sensors }, (_, sensor) => sensor), (sensor) => count(at, sensor)),
      (counts): Frame => ({ at, counts })
    ))
  return { frames, planted: [failure, jam] }
})

/** Minutes since midnight as `hh:mm`. */
export const clock = (at: number): string =>
  [Math.floor(at / 60), at % 60].map((part) => String(part).padStart(2, "0")).join(":")
