/**
 * One session in a thread or a process of its own: loaded when it is made, released when its scope closes.
 *
 * It makes one run at a time. A thread is never ended in the middle of a run, since that aborts the whole process: the end of the scope waits
 * for it. A process can be killed at any time.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { Worker } from "node:worker_threads"
import type { Failure, FromSession, LoadOptions, ToSession, Wire, WirePort } from "./protocol.ts"

export type Runtime = "worker" | "process"

/** How a run ended. */
export type Ran =
  | { readonly _tag: "Ran"; readonly outputs: Readonly<Record<string, Wire>> }
  | { readonly _tag: "Failed"; readonly failure: Failure }
  /** The thread or process ended; there will be no other run. */
  | { readonly _tag: "Died" }

export interface Runner {
  readonly inputs: ReadonlyArray<WirePort>
  readonly outputs: ReadonlyArray<WirePort>
  /** Takes the buffers of its feeds. */
  readonly run: (
    feeds: Readonly<Record<string, Wire>>,
    fetches: ReadonlyArray<string>,
    done: (ran: Ran) => void
  ) => void
  /** Says that a run takes too long: a process is killed. The end of the scope does not wait for a thread that is overdue. */
  readonly overdue: () => void
  /** Whether it can make another run. */
  readonly alive: () => boolean
  /** Completes when thread or process has ended by itself or was killed. */
  readonly died: Effect.Effect<void>
}

const extension = import.meta.url.endsWith(".ts") ? "ts" : "js"
const program = new URL(`./sessionWorker.${extension}`, import.meta.url)

/** What a thread and a process have in common. */
interface Channel {
  readonly send: (message: ToSession, buffers: Array<ArrayBuffer>) => void
  /** Ends it, a thread when it has nothing to run any more. */
  readonly close: () => void
  /** Gives up on it. Says whether it still ends. */
  readonly abandon: () => boolean
}

const openThread = (receive: (message: FromSession) => void, ended: () => void): Channel => {
  const worker = new Worker(program, { execArgv: [] })
  worker.on("message", receive)
  // An error ends the thread, which `exit` tells.
  worker.on("error", () => {})
  worker.on("exit", ended)
  const send = (message: ToSession, buffers: Array<ArrayBuffer>) => worker.postMessage(message, buffers)
  const abandon = () => {
    // The program need not wait for it to end by itself.
    worker.unref()
    return false
  }
  return { send, close: () => send({ _tag: "Close" }, []), abandon }
}

const openProcess = (receive: (message: FromSession) => void, ended: () => void): Channel => {
  const child: ChildProcess = fork(fileURLToPath(program), {
    execArgv: [],
    serialization: "advanced",
    stdio: ["ignore", "ignore", "inherit", "ipc"]
  })
  child.on("message", (message) => receive(message as FromSession))
  let over = false
  const end = () => {
    if (!over) ended()
    over = true
  }
  child.on("error", end)
  child.on("exit", end)
  const kill = () => child.kill("SIGKILL")
  return { send: (message) => void child.send(message, () => {}), close: kill, abandon: () => kill() }
}

/** Loads a model. Fails with the reason if it doesn't load. */
export const make = Effect.fnUntraced(function*(
  runtime: Runtime,
  options: LoadOptions
): Effect.fn.Return<Runner, Failure, Scope.Scope> {
  let alive = true
  /** Whether a run takes too long in a thread. */
  let lost = false
  let waiting: ((message: FromSession | undefined) => void) | undefined
  const listeners = new Set<() => void>()

  const receive = (message: FromSession | undefined) => {
    const resume = waiting
    waiting = undefined
    resume?.(message)
  }
  const onEnd = () => {
    alive = false
    receive(undefined)
    for (const listener of listeners) listener()
  }
  const died = Effect.callback<void>((resume) => {
    const listener = () => resume(Effect.void)
    if (!alive) return listener()
    listeners.add(listener)
    return Effect.sync(() => listeners.delete(listener))
  })

  const channel = yield* Effect.acquireRelease(
    Effect.sync(() => (runtime === "worker" ? openThread : openProcess)(receive, onEnd)),
    (channel) => Effect.andThen(Effect.sync(channel.close), Effect.suspend(() => lost ? Effect.void : died))
  )
  const { inputs, outputs } = yield* Effect.callback<Extract<FromSession, { _tag: "Loaded" }>, Failure>((resume) => {
    waiting = (message) => {
      if (message?._tag === "Loaded") return resume(Effect.succeed(message))
      if (message?._tag === "Refused") return resume(Effect.fail(message.failure))
      resume(Effect.fail({ detail: `the ${runtime} ended while it loaded the model`, text: "" }))
    }
    if (!alive) return receive(undefined)
    channel.send({ _tag: "Load", options }, [])
  })

  return {
    inputs,
    outputs,
    died,
    alive: () => alive,
    overdue: () => {
      if (alive && waiting !== undefined) lost = !channel.abandon()
    },
    run: (feeds, fetches, done) => {
      if (!alive) return done({ _tag: "Died" })
      waiting = (message) => {
        lost = false
        done(message?._tag === "Ran" || message?._tag === "Failed" ? message : { _tag: "Died" })
      }
      const buffers = new Set<ArrayBuffer>()
      for (const { data } of Object.values(feeds)) {
        if (ArrayBuffer.isView(data) && data.buffer instanceof ArrayBuffer) buffers.add(data.buffer)
      }
      channel.send({ _tag: "Run", feeds, fetches }, [...buffers])
    }
  }
})
