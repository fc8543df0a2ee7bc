import * as Effect from "effect/Effect"

/** Writes to standard output, and waits until it has it: a program that ends at once after it would cut what goes into a pipe. */
export const print = (text: string): Effect.Effect<void> =>
  Effect.callback((resume) => {
    // A reader that has gone wants no more.
    process.stdout.write(text, () => resume(Effect.void))
  })
