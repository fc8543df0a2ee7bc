/**
 * Runs a program until it ends or a signal stops it.
 *
 * The first SIGTERM or SIGINT (Ctrl-C) interrupts the program, which then cleans up at its own pace; a second one ends the process at
 * once. A program that was stopped this way exits with 0, or with the code that it set itself in `process.exitCode`.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import * as Runtime from "effect/Runtime"
import { constants } from "node:os"

const codeOf = <A, E>(exit: Exit.Exit<A, E>): number => {
  if (Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)) return Number(process.exitCode ?? 0)
  return Runtime.getErrorExitCode(Cause.squash(exit.cause))
}

/**
 * Runs an effect as the main program of the process.
 *
 * @category running
 * @since 0.1.0
 */
export const runMain = Runtime.makeRunMain(({ fiber, teardown }) => {
  let signalled = false
  const onSignal = (signal: "SIGINT" | "SIGTERM") => {
    if (signalled) process.exit(128 + constants.signals[signal])
    signalled = true
    fiber.interruptUnsafe(fiber.id)
  }
  process.on("SIGINT", onSignal)
  process.on("SIGTERM", onSignal)
  fiber.addObserver((exit) => teardown(exit, (code) => process.exit(code)))
})

/**
 * Turns how a program ended into an exit code: 0 when it succeeded or was interrupted, else the error's, which is 1 by default.
 *
 * @category running
 * @since 0.1.0
 */
export const teardown: Runtime.Teardown = (exit, onExit) => onExit(codeOf(exit))
