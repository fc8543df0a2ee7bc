/**
 * Runs modules, one after the other, in one process that loads their packages only once. For each it sends its parent the path, and
 * the error if it ended with one.
 */
import { inspect } from "node:util"

/** How one module ended. */
export interface Run {
  readonly path: string
  readonly error: string | undefined
}

for (const path of process.argv.slice(2)) {
  const error = await import(path).then(() => undefined, (cause: unknown) => inspect(cause))
  process.send!({ path, error } satisfies Run)
}
