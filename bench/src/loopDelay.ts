/**
 * How late the event loop is: that of this process, and at the same time that of a process which does nothing, so that what the machine adds can
 * be told from what the program does.
 */
import { fork } from "node:child_process"
import { once } from "node:events"
import { monitorEventLoopDelay } from "node:perf_hooks"

/** The 99th percentiles, in milliseconds. */
export interface Delays {
  readonly own: number
  readonly idle: number
}

export interface Idle {
  readonly reset: () => void
  readonly read: () => Promise<number>
  readonly end: () => void
}

/** A timer of one millisecond is that late at least. */
const monitor = () => {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  return { reset: () => delay.reset(), read: () => delay.percentile(99) / 1e6, end: () => delay.disable() }
}

const child = "--idle"

/** Starts the process that does nothing. */
export const idle = async (): Promise<Idle> => {
  const process = fork(new URL(import.meta.url), [child])
  const read = async (): Promise<number> => {
    process.send("read")
    const [delay] = await once(process, "message")
    return delay
  }
  await read()
  return { reset: () => void process.send("reset"), read, end: () => void process.kill() }
}

/** Begins to measure; what it gives ends that. */
export const start = ({ read, reset }: Idle): () => Promise<Delays> => {
  const own = monitor()
  reset()
  return async () => {
    const delay = own.read()
    own.end()
    return { own: delay, idle: await read() }
  }
}

if (process.argv[2] === child) {
  const own = monitor()
  process.on("message", (message) => message === "reset" ? own.reset() : process.send?.(own.read()))
}
