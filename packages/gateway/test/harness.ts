/** A gateway on a free port of loopback, in front of a simulator that takes no time. */
import { DeepSeek } from "@ballast/deepseek"
import { Gateway, Upstream } from "@ballast/gateway"
import { Simulator, type SimulatorOptions } from "@ballast/simulator"
import { Logs } from "@ballast/telemetry"
import { Context, Duration, Effect, identity, Layer, Redacted } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { connect } from "node:net"

export class Running extends Context.Service<Running, {
  readonly url: string
  /** Lines of the log, parsed. */
  readonly log: ReadonlyArray<Record<string, unknown>>
  readonly inspect: Effect.Effect<Simulator.Inspection>
}>()("test/Running") {}

const instant = { latency: 0, timeToFirstToken: 0, tokensPerSecond: Infinity }

export interface Options {
  readonly simulator?: SimulatorOptions.SimulatorOptions
  readonly clientKeys?: ReadonlyArray<string>
  readonly allowedHosts?: ReadonlyArray<string>
  readonly allowedOrigins?: ReadonlyArray<string>
  readonly requestTimeout?: Duration.Input
  readonly apiKey?: string
  readonly circuitBreaker?: DeepSeek.Options["circuitBreaker"]
  readonly retry?: DeepSeek.Options["retry"]
  readonly maxBodySize?: number
  readonly bodyMemory?: number
  readonly kind?: "simulator" | "deepseek"
  /** Answers in place of the simulator's, chosen by `x-simulate`. */
  readonly answers?: Readonly<Record<string, () => Response>>
}

const answering = (answers: Readonly<Record<string, () => Response>>) =>
  Layer.succeed(
    HttpClient.HttpClient,
    HttpClient.make((request) =>
      Effect.sync(() => HttpClientResponse.fromWeb(request, answers[request.headers["x-simulate"]!]!()))
    )
  )

export const layer = (options: Options = {}): Layer.Layer<Running> => {
  const lines: Array<Record<string, unknown>> = []
  const write = (line: string) => lines.push(JSON.parse(line))
  const Model = DeepSeek.layer({
    apiKey: Redacted.make(options.apiKey ?? "sk-test"),
    retry: options.retry ?? false,
    circuitBreaker: options.circuitBreaker ?? false
  }).pipe(
    options.answers === undefined ? identity : Layer.provide(answering(options.answers)),
    Layer.provideMerge(Simulator.layerHttpClient({ ...instant, ...options.simulator }))
  )
  return Layer.effect(
    Running,
    Effect.gen(function*() {
      const { inspect } = yield* Simulator.Simulator
      const address = yield* Effect.orDie(Gateway.serve({
        host: "127.0.0.1",
        port: 0,
        clientKeys: (options.clientKeys ?? []).map((key) => Redacted.make(key)),
        allowedHosts: options.allowedHosts ?? [],
        allowedOrigins: options.allowedOrigins ?? [],
        requestTimeout: Duration.fromInputUnsafe(options.requestTimeout ?? "1 minute"),
        shutdownTimeout: Duration.seconds(5),
        maxBodySize: options.maxBodySize,
        bodyMemory: options.bodyMemory
      }))
      const port = address._tag === "UnixPathAddress" ? 0 : address.port
      return { url: `http://127.0.0.1:${port}`, log: lines, inspect }
    })
  ).pipe(
    Layer.provide(Model),
    Layer.provide(Layer.succeed(Upstream.Upstream, {
      kind: options.kind ?? "simulator",
      description: "test",
      takesFaults: options.kind !== "deepseek"
    })),
    Layer.provide(Logs.layer({ level: "Debug", write }))
  )
}

/** Waits until a condition holds that something outside brings about. */
export const eventually = (condition: Effect.Effect<boolean>): Effect.Effect<void> =>
  Effect.flatMap(
    condition,
    (holds) => holds ? Effect.void : Effect.andThen(Effect.sleep("5 millis"), eventually(condition))
  )

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
