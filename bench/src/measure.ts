/**
 * Measures several ways of doing the same thing. The sides take turns in short blocks, so that whatever happens to the machine happens to
 * all of them; the median block counts, and ratios are taken within a turn.
 */

/** Does so many operations and returns a sum over their results, so that none can be optimised away or left undone. */
export type Side = (operations: number) => Promise<number>

/** What a block of operations took, in microseconds. */
export interface Sample {
  readonly cpu: number
  readonly wall: number
  readonly checksum: number
}

/** Something that can be measured block by block. */
export interface Measured {
  readonly name: string
  /** The side that is the same call without anything around it. */
  readonly bare?: string | undefined
  /** Operations of a block, where waiting makes the plan's too many. */
  readonly operations?: number | undefined
  readonly block: (operations: number) => Promise<Sample>
}

/** Times of one operation, in microseconds. */
export interface Result {
  readonly name: string
  readonly bare?: string | undefined
  readonly cpu: number
  readonly wall: number
  /** CPU time of every block, in the order of the turns. */
  readonly blocks: ReadonlyArray<number>
  /** Real time of every block. */
  readonly walls: ReadonlyArray<number>
}

export interface Plan {
  /** Operations of one block. */
  readonly operations: number
  readonly turns: number
  /** Turns before those that count. A server runs for days, so what counts is code that the engine has had time to optimise. Default 6. */
  readonly warmUp?: number
  /** What the results of one operation add up to. */
  readonly expected: number
}

const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? NaN) + (sorted[Math.floor(middle)] ?? NaN)) / 2
}

/**
 * CPU time of one side over that of another: the median of the turns. Of what sides cost more than their bare calls it is that of the
 * medians, since a single turn's difference may be next to nothing.
 */
export const ratio = (side: Result, beside: Result): number =>
  beside.bare === undefined
    ? median(side.blocks.map((cpu, turn) => cpu / (beside.blocks[turn] ?? NaN)))
    : side.cpu / beside.cpu

/** Real time of one side over that of another: the median of the turns. */
export const wallRatio = (side: Result, beside: Result): number =>
  median(side.walls.map((wall, turn) => wall / (beside.walls[turn] ?? NaN)))

/** What a side costs more than its bare call, turn by turn; all that it costs when it has none. */
export const overBare = (side: Result, all: ReadonlyArray<Result>): Result => {
  const bare = side.bare === undefined ? undefined : all.find(({ name }) => name === side.bare)
  if (bare === undefined) return side
  const blocks = side.blocks.map((cpu, turn) => cpu - (bare.blocks[turn] ?? NaN))
  return { ...side, cpu: median(blocks), blocks }
}

const checked = async (side: Measured, { expected, ...plan }: Plan): Promise<Sample> => {
  const operations = side.operations ?? plan.operations
  const { checksum, cpu, wall } = await side.block(operations)
  if (checksum !== expected * operations) {
    throw new Error(`${side.name} gave ${checksum} for ${operations} operations, not ${expected * operations}`)
  }
  return { checksum, cpu: cpu / operations, wall: wall / operations }
}

const defaultWarmUp = 6

/** Lets the sides take turns, each turn starting with another side. */
export const measure = async (sides: ReadonlyArray<Measured>, plan: Plan): Promise<ReadonlyArray<Result>> => {
  const samples = sides.map((): Array<Sample> => [])
  for (let turn = -(plan.warmUp ?? defaultWarmUp); turn < plan.turns; turn++) {
    for (let index = 0; index < sides.length; index++) {
      const next = (index + Math.max(turn, 0)) % sides.length
      const side = sides[next]
      if (side === undefined) continue
      const sample = await checked(side, plan)
      if (turn >= 0) samples[next]?.push(sample)
    }
  }
  return sides.map(({ bare, name }, index) => {
    const own = samples[index] ?? []
    return {
      name,
      bare,
      cpu: median(own.map((sample) => sample.cpu)),
      wall: median(own.map((sample) => sample.wall)),
      blocks: own.map((sample) => sample.cpu),
      walls: own.map((sample) => sample.wall)
    }
  })
}

/** Keeps so many operations in flight and adds up their results. */
export const inFlight = (limit: number, operation: () => Promise<number>): Side => async (operations) => {
  let started = 0
  let sum = 0
  const lane = async () => {
    while (started++ < operations) {
      const result = await operation()
      sum += result
    }
  }
  await Promise.all(Array.from({ length: limit }, lane))
  return sum
}

/** Calls in flight at once, on every side of a bench over HTTP. */
export const concurrency = 16
