/** The sessions of one version: each is loaded and verified before it takes calls, and starts again when its thread or process ends. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Tensor from "../Tensor.ts"
import * as ports from "./ports.ts"
import type { Failure, LoadOptions, Wire } from "./protocol.ts"
import * as Runner from "./runner.ts"
import * as wire from "./wire.ts"

export type Tensors = Readonly<Record<string, Tensor.Tensor>>

/** A session that takes no calls yet. */
export interface Verifying {
  readonly inputs: ReadonlyArray<Tensor.Port>
  readonly outputs: ReadonlyArray<Tensor.Port>
  readonly run: (inputs: Tensors) => Effect.Effect<Tensors, Failure>
}

export interface Options {
  /** Of the version, for the log. */
  readonly name: string
  readonly runtime: Runner.Runtime
  readonly load: LoadOptions
  readonly instances: number
  /** Shapes that are narrower than those of the file, by input. */
  readonly shapes: Readonly<Record<string, ReadonlyArray<number>>>
  /** Warms a session and checks its answers. */
  readonly verify: (session: Verifying) => Effect.Effect<void, Failure>
  /** Milliseconds that verifying may take. */
  readonly deadline: number
}

/** A place for a session; without a runner while it starts again. */
export interface Session {
  runner: Runner.Runner | undefined
}

export interface Sessions extends ports.Ports {
  readonly all: ReadonlyArray<Session>
  /** Why no session is left, if none is. */
  readonly down: () => string | undefined
}

/** Waits between two tries to start a session that ended, in milliseconds. */
const backoff = { first: 100, most: 30_000 }

/** The failure of what did not answer in time. */
const late = (millis: number): Failure => ({
  detail: `it did not answer its first inputs within ${Duration.format(Duration.millis(millis))}`,
  text: ""
})

const runOn = (runner: Runner.Runner, outputs: ReadonlyArray<Tensor.Port>) => (inputs: Tensors) =>
  Effect.callback<Tensors, Failure>((resume) => {
    const feeds: Record<string, Wire> = {}
    for (const [name, tensor] of Object.entries(inputs)) feeds[name] = wire.toWire(Tensor.clone(tensor))
    runner.run(feeds, outputs.map(({ name }) => name), (ran) => {
      if (ran._tag === "Ran") return resume(Effect.succeed(wire.tensorsOf(ran.outputs)))
      resume(Effect.fail(ran._tag === "Failed" ? ran.failure : { detail: "it ended during its first run", text: "" }))
    })
  })

/** Loads and verifies all sessions. Fails with the reason if one does not. `ready` is called when a session has come back. */
export const make = Effect.fnUntraced(function*(
  options: Options,
  ready: () => void
): Effect.fn.Return<Sessions, Failure, Scope.Scope> {
  const scope = yield* Effect.scope
  let down: string | undefined

  const open = Effect.fnUntraced(function*() {
    const own = yield* Scope.fork(scope)
    const started = Effect.gen(function*() {
      const runner = yield* Runner.make(options.runtime, options.load)
      const found = ports.portsOf(runner.inputs, runner.outputs, options.shapes)
      if ("detail" in found) return yield* Effect.fail(found)
      yield* options.verify({ ...found, run: runOn(runner, found.outputs) }).pipe(
        Effect.timeoutOrElse({
          duration: options.deadline,
          orElse: () => Effect.andThen(Effect.sync(runner.overdue), Effect.fail(late(options.deadline)))
        })
      )
      return { runner, own, found }
    })
    return yield* Effect.onError(Scope.provide(started, own), () => Scope.close(own, Exit.void))
  })

  type Opened = Effect.Success<ReturnType<typeof open>>

  const reopen = Effect.fnUntraced(function*(session: Session) {
    for (let wait = 0;; wait = Math.min(Math.max(backoff.first, wait * 2), backoff.most)) {
      yield* Effect.sleep(wait)
      const opened = yield* Effect.result(open())
      if (opened._tag === "Success") {
        down = undefined
        session.runner = opened.success.runner
        ready()
        return opened.success
      }
      const { detail } = opened.failure
      if (all.every(({ session }) => session.runner === undefined)) down = detail
      yield* Effect.logWarning(`a session of ${options.name} does not start again: ${detail}`)
    }
  })

  const keep = Effect.fnUntraced(function*({ opened, session }: { opened: Opened; session: Session }) {
    let { own, runner } = opened
    while (true) {
      yield* runner.died
      session.runner = undefined
      yield* Scope.close(own, Exit.void)
      yield* Effect.logWarning(`a session of ${options.name} ended and starts again`)
      ;({ own, runner } = yield* reopen(session))
    }
  })

  const all = yield* Effect.forEach(
    Array.from({ length: options.instances }),
    () => Effect.map(open(), (opened) => ({ opened, session: { runner: opened.runner } as Session })),
    { concurrency: "unbounded" }
  )
  for (const it of all) yield* Effect.forkScoped(keep(it))
  const [first] = all
  return {
    inputs: first?.opened.found.inputs ?? [],
    outputs: first?.opened.found.outputs ?? [],
    all: all.map(({ session }) => session),
    down: () => down
  }
})
