/** Calls that run together: which fit, their inputs as one, and the part of the outputs that each gets. */
import type * as Exit from "effect/Exit"
import type { InferenceError } from "../InferenceError.ts"
import * as Tensor from "../Tensor.ts"
import type { Wire } from "./protocol.ts"
import type { Tensors } from "./sessions.ts"
import * as wire from "./wire.ts"

/** A call that has no answer yet. */
export interface Entry {
  readonly inputs: Tensors
  readonly outputs: ReadonlyArray<string>
  readonly rows: number
  /** Entries with the same key can be batched. */
  readonly key: string
  /** In monotonic milliseconds. */
  readonly deadline: number
  readonly resume: (exit: Exit.Exit<Tensors, InferenceError>) => void
  /** Whether it has its answer, or its caller left. */
  over: boolean
}

export const rowsOf = (entries: ReadonlyArray<Entry>): number => entries.reduce((sum, { rows }) => sum + rows, 0)

/** The entries that run with the first one: those like it, in their order, as many as fit. */
export const fitting = (waiting: Iterable<Entry>, first: Entry, maxSize: number): ReadonlyArray<Entry> => {
  const batch: Array<Entry> = []
  let rows = 0
  for (const entry of waiting) {
    if (entry.key !== first.key || rows + entry.rows > maxSize) continue
    batch.push(entry)
    rows += entry.rows
    if (rows === maxSize) break
  }
  return batch
}

/** The tensors of several calls in one: a new copy, whose buffers can be given away. */
export const join = (entries: ReadonlyArray<Entry>, name: string): Wire => {
  const [first, ...rest] = entries.flatMap(({ inputs }) => inputs[name] ?? [])
  if (first === undefined) throw new Error(`the call has no input ${name}`)
  return wire.toWire(rest.length === 0 ? Tensor.clone(first) : Tensor.concat([first, ...rest]))
}

/** The part of each call, if the outputs have the rows of the inputs. */
export const split = (entries: ReadonlyArray<Entry>, outputs: Tensors): ReadonlyArray<Tensors> | undefined => {
  if (entries.length === 1) return [outputs]
  const total = rowsOf(entries)
  if (Object.values(outputs).some((tensor) => Tensor.rows(tensor) !== total)) return undefined
  let at = 0
  return entries.map(({ rows }) => {
    const part: Record<string, Tensor.Tensor> = {}
    for (const [name, tensor] of Object.entries(outputs)) part[name] = Tensor.slice(tensor, at, at + rows)
    at += rows
    return part
  })
}
