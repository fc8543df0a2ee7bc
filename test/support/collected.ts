import { Effect } from "effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

setFlagsFromString("--expose-gc")
const collect: () => void = runInNewContext("gc")

/** Waits until an object is collected. One that is kept is told by the test's time limit. */
export const collected = (object: WeakRef<object>) =>
  Effect.promise(async () => {
    while (object.deref() !== undefined) {
      await new Promise(setImmediate)
      collect()
    }
  })
