import { concurrency, type Measured, type Plan, type Sample } from "./measure.ts"
import { type Server, startWorker } from "./process.ts"

/**
 * What a bench wants of `side`: at most so many times the CPU time of `beside`, each over its bare call where it has one; without a
 * `beside`, at most so many microseconds over its bare call.
 */
export interface Target {
  readonly side: string
  readonly beside?: string
  readonly atMost: number
  /** What is compared. Default `"cpu"`; `"wall"` where the rate is what matters, and the work is partly another process's. */
  readonly of?: "cpu" | "wall"
}

/** Takes note of what is to be stopped when the bench is over. */
export type Started = (stop: () => Promise<void>) => void

/** A comparison; ratios in its report are to the first side that is no bare call. */
export interface Bench {
  readonly about: string
  readonly plan: Plan
  /** Calls in flight at once; each number is a comparison of its own. Left out where the sides decide. */
  readonly lanes?: ReadonlyArray<number>
  /** Whether the service sends all events of a stream at once, instead of one by one. */
  readonly burst?: boolean
  readonly targets: ReadonlyArray<Target>
  readonly sides: (service: Server, started: Started, lanes: number) => Promise<ReadonlyArray<Measured>>
}

/** A side as an export of a module of `side/`, and the name of the side that is the same call without anything around it. */
export interface Named {
  readonly name: string
  readonly module: string
  readonly side: string
  readonly bare?: string
  /** Operations of a block, where waiting makes the plan's too many. */
  readonly operations?: number
  /** Options of `node` itself. */
  readonly execArgv?: ReadonlyArray<string>
}

/** Starts a side in a process of its own. */
export const worker = (started: Started, named: Named, url: string, lanes: number = concurrency): Measured => {
  const { bare, execArgv = [], module, name, operations, side } = named
  const child = startWorker(name, "worker.ts", [module, side, url, `${lanes}`], execArgv)
  started(child.stop)
  return { name, bare, operations, block: (operations) => child.ask<Sample>({ operations }) }
}
