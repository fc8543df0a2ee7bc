import * as Equal from "effect/Equal"
import { isTree } from "./layer.ts"

const isPlain = (u: unknown): u is { readonly [key: string]: unknown } => {
  if (!isTree(u)) return false
  const prototype: unknown = Object.getPrototypeOf(u)
  return prototype === Object.prototype || prototype === null
}

/** The paths of the settings that differ between two values; a list counts as one setting. */
export const differences = (before: unknown, after: unknown, path = ""): ReadonlyArray<string> => {
  if (isPlain(before) && isPlain(after)) {
    const keys = new Set([...Object.keys(before), ...Object.keys(after)])
    return Array.from(keys).flatMap((key) => differences(before[key], after[key], path === "" ? key : `${path}.${key}`))
  }
  return Equal.equals(before, after) ? [] : [path]
}
