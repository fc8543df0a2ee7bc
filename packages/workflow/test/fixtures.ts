import { Definition, Engine, Runner, Service } from "@ballast/workflow"
import type { Run } from "@ballast/workflow"
import { Effect, Fiber, Layer, type Schema } from "effect"
import { TestClock } from "effect/testing"

/** The file that teams begin with, byte for byte. */
export const invoice = `workflow:
  name: invoice_processing
  steps:
    - service: image_enhancement
      timeout: 5s
    - service: ocr_extraction
      retry: 2
    - service: compliance_check
      condition: "\${output.amount > 1000}"
`

export const busy = new Service.ServiceError({ detail: "busy", retryable: true })

/** A service of a function, which keeps the calls that it got. */
export const recorder = (
  answer: (input: unknown, context: Service.CallContext) => Effect.Effect<unknown, Service.ServiceError>
) => {
  const calls: Array<{ readonly input: unknown } & Service.CallContext> = []
  const service: Service.Service = {
    call: (input, context) =>
      Effect.suspend(() => {
        calls.push({ input, ...context })
        return answer(input, context)
      })
  }
  return { calls, service }
}

export const echo: Service.Service = { call: (input) => Effect.succeed(input) }

/** Takes a time. */
export const slow = (millis: number, output: unknown = "slow"): Service.Service => ({
  call: () => Effect.delay(Effect.succeed(output), millis)
})

export const broken = (retryable = false): Service.Service => ({
  call: () => Effect.fail(new Service.ServiceError({ detail: "broken", retryable }))
})

export interface Given extends Omit<Runner.Options, "services"> {
  /** Gets what is told. */
  readonly events?: Array<Run.Event>
  readonly services?: Readonly<Record<string, Service.Service>>
  readonly input?: Schema.Json
  readonly id?: string
}

/** Runs a file in memory; gives its result or its failure, and what was told. */
export const run = (
  text: string,
  { events = [], id = "run-1", input = {}, services = { echo }, ...options }: Given = {}
) =>
  Effect.gen(function*() {
    const definition = yield* Definition.read({ name: "flow.yaml", text, services })
    const layer = Runner.layer({
      ...options,
      services,
      onEvent: (event) => Effect.sync(() => void events.push(event))
    }).pipe(Layer.provide(Engine.layerMemory))
    const result = yield* Effect.result(
      Effect.flatMap(Runner.Runner, (runner) => runner.run(definition, input, { id })).pipe(Effect.provide(layer))
    )
    return { result, events, told: events.map((event) => `${event._tag} ${event.step}`) }
  })

/** A workflow of these steps, written without the lines around them. */
export const steps = (text: string, more = "") =>
  `workflow:\n  name: w\n  steps:\n${text.replaceAll(/^/gm, "    ")}\n${more.replaceAll(/^/gm, "  ")}\n`

/** Waits for what the clock does not move: ids of runs are made by the platform's crypto. */
export const until = (condition: () => boolean) =>
  Effect.promise(async () => {
    while (!condition()) await new Promise((resolve) => setImmediate(resolve))
  })

/** Runs while the clock goes on as far as it must. */
export const finish = (text: string, given?: Given) =>
  Effect.gen(function*() {
    const events: Array<Run.Event> = []
    const fiber = yield* Effect.forkChild(run(text, { ...given, events }))
    const ended = () => fiber.pollUnsafe() !== undefined
    yield* until(() => ended() || events.length > 0)
    while (!ended()) {
      yield* TestClock.adjust("1 second")
      let turns = 0
      yield* until(() => ended() || turns++ > 2)
    }
    return yield* Fiber.join(fiber)
  })
