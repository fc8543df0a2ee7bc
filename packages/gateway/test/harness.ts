/** A gateway on a free port of loopback, in front of a simulator that takes no time. */
import { ClientKeys, Gateway, type LocalModels, Records, Settings, Upstream } from "@ballast/gateway"
import { Simulator, type SimulatorOptions } from "@ballast/simulator"
import { Logs } from "@ballast/telemetry"
import { NodeFileSystem } from "@effect/platform-node"
import { Context, Effect, Layer, Metric } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { connect } from "node:net"

export class Running extends Context.Service<Running, {
  readonly url: string
  /** Lines of the log, parsed. */
  readonly log: ReadonlyArray<Record<string, unknown>>
  readonly inspect: Effect.Effect<Simulator.Inspection>
  /** What is kept, if a database is named. */
  readonly records: Records.Records | undefined
}>()("test/Running") {}

const instant = { latency: 0, timeToFirstToken: 0, tokensPerSecond: Infinity }

export interface Options {
  readonly simulator?: SimulatorOptions.SimulatorOptions
  readonly clientKeys?: ReadonlyArray<string>
  readonly allowedHosts?: ReadonlyArray<string>
  readonly allowedOrigins?: ReadonlyArray<string>
  readonly requestTimeout?: string
  readonly apiKey?: string
  readonly circuitBreaker?: object
  readonly retry?: object
  readonly maxBodySize?: number
  readonly bodyMemory?: number
  readonly kind?: "simulator" | "deepseek"
  /** Sections in place of those of the other options. */
  readonly settings?: object
  /** Keeps the ledger there. Default: nothing is kept. */
  readonly database?: string
  /** Answers in place of the simulator's, chosen by `x-simulate`. */
  readonly answers?: Readonly<Record<string, () => Response>>
  readonly localModels?: LocalModels.Service
  /** What providers of the type `local` are called by. */
  readonly local?: HttpClient.HttpClient
}

const answering = (answers: Readonly<Record<string, () => Response>>) =>
  HttpClient.make((request) =>
    Effect.sync(() => HttpClientResponse.fromWeb(request, answers[request.headers["x-simulate"]!]!()))
  )

/** The settings of a gateway whose provider is called after its type. */
const settingsOf = (options: Options) => {
  const kind = options.kind ?? "simulator"
  return {
    listen: { port: 0, allowedHosts: options.allowedHosts, allowedOrigins: options.allowedOrigins },
    clients: Object.fromEntries(
      Array.from(ClientKeys.byName(options.clientKeys ?? []), ([name, keys]) => [name, { keys }])
    ),
    providers: { [kind]: { type: kind, accounts: { default: { keys: [options.apiKey ?? "sk-test"] } } } },
    policies: {
      retry: options.retry ?? { times: 0 },
      circuitBreaker: options.circuitBreaker ?? { enabled: false }
    },
    limits: {
      maxBodySize: options.maxBodySize,
      bodyMemory: options.bodyMemory,
      requestTimeout: options.requestTimeout,
      shutdownTimeout: "5s"
    },
    database: options.database,
    ...options.settings
  }
}

export const layer = (options: Options = {}): Layer.Layer<Running> => {
  const lines: Array<Record<string, unknown>> = []
  const write = (line: string) => lines.push(JSON.parse(line))
  return Layer.effect(
    Running,
    Effect.gen(function*() {
      const { inspect } = yield* Simulator.Simulator
      const simulator = yield* HttpClient.HttpClient
      const settings = yield* Effect.orDie(Settings.makeValues(settingsOf(options)))
      const upstream = yield* Upstream.make(settings, {
        client: options.answers === undefined ? simulator : answering(options.answers),
        local: options.local
      })
      const records = options.database === undefined
        ? undefined
        : yield* Effect.orDie(Effect.flatMap(settings.current, Records.make))
      const { workflows: { files } } = yield* settings.current
      const workflows = records === undefined || files.length === 0
        ? undefined
        : yield* Effect.promise(() => import("../src/Workflows.ts")).pipe(
          Effect.flatMap(({ open }) => Effect.orDie(open(settings, records.database)))
        )
      const address = yield* Effect.orDie(
        Gateway.serve({ settings, upstream, records, localModels: options.localModels, workflows })
      )
      const port = address._tag === "UnixPathAddress" ? 0 : address.port
      return { url: `http://127.0.0.1:${port}`, log: lines, inspect, records }
    })
  ).pipe(
    Layer.provide(Simulator.layerHttpClient({ ...instant, ...options.simulator })),
    Layer.provide(NodeFileSystem.layer),
    Layer.provide(Logs.layer({ level: "Debug", write })),
    // Test files share a process: what one counts must not show in another's figures.
    Layer.provide(Layer.sync(Metric.MetricRegistry, () => new Map()))
  )
}

/** Waits until a condition holds that something outside brings about. */
export const eventually = (condition: Effect.Effect<boolean>): Effect.Effect<void> =>
  Effect.flatMap(
    condition,
    (holds) => holds ? Effect.void : Effect.andThen(Effect.sleep("5 millis"), eventually(condition))
  )

/** Caches that have nothing. */
export const noAnswers = { complete: () => Effect.undefined, stream: () => Effect.undefined }

export const hello = { model: "deepseek-flash", messages: [{ role: "user", content: "Hello!" }] }

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  // oxlint-disable-next-line typescript/no-explicit-any -- the body of a test's answer is whatever it is
  readonly json: any
}

/** Posts a body, JSON unless it is text already. */
export const post = (url: string, body: unknown, headers: Record<string, string> = {}): Effect.Effect<Answer> =>
  send(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body)
  })

export const send = (url: string, init?: RequestInit): Effect.Effect<Answer> =>
  Effect.promise(async (signal) => {
    const response = await fetch(url, { ...init, signal })
    const text = await response.text()
    const isJson = response.headers.get("content-type")?.startsWith("application/json") && text !== ""
    return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined }
  })

/** Sends bytes as they are and gives everything that comes back until the server closes. */
export const raw = (url: string, bytes: string | Uint8Array, options?: { readonly halfClose?: boolean }) =>
  Effect.callback<string>((resume) => {
    const { hostname, port } = new URL(url)
    let received = ""
    const socket = connect(Number(port), hostname, () => {
      socket.write(bytes)
      if (options?.halfClose) socket.end()
    })
    socket.setEncoding("latin1")
    socket.on("data", (text: string) => received += text)
    socket.on("error", () => {})
    socket.on("close", () => resume(Effect.succeed(received)))
    return Effect.sync(() => socket.destroy())
  })
