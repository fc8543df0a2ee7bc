/** `ballast operator`: the controller of models on Kubernetes, with its own small server for probes and metrics. */
import * as Crd from "@ballast/operator/Crd"
import * as InCluster from "@ballast/operator/InCluster"
import * as Operator from "@ballast/operator/Operator"
import * as Exporter from "@ballast/telemetry/Exporter"
import * as Logs from "@ballast/telemetry/Logs"
import * as OpenMetrics from "@ballast/telemetry/OpenMetrics"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as HttpServer from "effect/http/HttpServer"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { createHash, randomUUID, timingSafeEqual } from "node:crypto"
import { createServer } from "node:http"
import { hostname } from "node:os"
import * as Yaml from "yaml"
import * as Environment from "../../Environment.ts"
import { fromServeError, StartError } from "../../StartError.ts"
import * as Startup from "../../Startup.ts"
import { version } from "../../Version.ts"
import { print } from "./print.ts"

export interface Options {
  readonly host: string | undefined
  readonly port: number | undefined
  readonly url: string | undefined
  readonly namespace: string | undefined
  readonly selector: string
  readonly portName: string
}

export const crd = Effect.suspend(() => print(Yaml.stringify(Crd.crd)))

const given = (name: string) =>
  Config.withDefault(
    Config.map(Config.String(name), (text): string | undefined => text.trim() || undefined),
    undefined
  )

/** From a file that is followed, or the environment. */
const keyOf = Effect.fnUntraced(function*(name: string) {
  const file = yield* given(`${name}_FILE`)
  if (file !== undefined) {
    return yield* Effect.mapError(
      InCluster.secretFile(file),
      (error) => new StartError({ detail: `${name}_FILE can't be read: ${error.message}` })
    )
  }
  const key = yield* given(name)
  return key === undefined ? undefined : Effect.succeed(Redacted.make(key))
})

type Key = Effect.Success<ReturnType<typeof keyOf>>

const adminKey = Effect.flatMap(keyOf("BALLAST_ADMIN_KEY"), (key) =>
  key === undefined
    ? Effect.fail(
      new StartError({
        detail: "Set BALLAST_ADMIN_KEY_FILE or BALLAST_ADMIN_KEY. It is one of the gateways' admin keys."
      })
    )
    : Effect.succeed(key))

const place = Effect.fnUntraced(function*({ namespace, url }: Options) {
  if (url === undefined) {
    const found = yield* InCluster.make()
    return { ...found, namespace: namespace ?? found.namespace }
  }
  const base = Environment.parseBaseUrl(url)
  if (base === undefined || namespace === undefined) {
    return yield* new StartError({
      detail: base === undefined
        ? "--kubernetes-url is not an http or https URL, such as http://127.0.0.1:8001 of kubectl proxy."
        : "--kubernetes-url wants --namespace too."
    })
  }
  return { url: base, namespace, ca: undefined, token: undefined }
})

const refused = (status: number, message: string) => HttpServerResponse.jsonUnsafe({ error: { message } }, { status })

const digest = (text: string) => createHash("sha256").update(text).digest()

/** Without a key, metrics are for this machine alone. */
const metrics = Effect.fnUntraced(function*(key: Key, isLocal: boolean, authorization: string | undefined) {
  if (key === undefined && !isLocal) {
    return refused(401, "There are no metrics without BALLAST_METRICS_KEY_FILE or BALLAST_METRICS_KEY.")
  }
  if (key !== undefined) {
    const wanted = `Bearer ${Redacted.value(yield* key)}`
    if (!timingSafeEqual(digest(authorization ?? ""), digest(wanted))) {
      return refused(401, "Send the metrics key with the header \"authorization: Bearer …\".")
    }
  }
  return HttpServerResponse.text(yield* OpenMetrics.format, { contentType: OpenMetrics.contentType })
})

/** The process is alive and ready whether it leads or waits. */
const answer = (key: Key, isLocal: boolean) =>
  Effect.gen(function*() {
    const { headers, url } = yield* HttpServerRequest
    switch (url.split("?")[0]) {
      case "/healthz":
      case "/readyz":
        return HttpServerResponse.jsonUnsafe({ status: "ok" })
      case "/metrics":
        return yield* metrics(key, isLocal, headers["authorization"])
      default:
        return refused(404, "There is /healthz, /readyz and /metrics.")
    }
  })

/** A watch that is silent for five minutes is replaced by the operator itself. */
const bodyTimeout = 360_000

/** Runs until it is interrupted. */
export const operator = Effect.fnUntraced(function*(options: Options) {
  const host = options.host ?? (yield* Environment.host)
  const port = options.port ?? (yield* Environment.port(8789))
  const { ca, ...found } = yield* place(options)
  const key = yield* adminKey
  const metricsKey = yield* keyOf("BALLAST_METRICS_KEY")
  const identity = `${hostname()}_${randomUUID()}`
  const program = Effect.gen(function*() {
    yield* Effect.logInfo("operator starts", { namespace: found.namespace, selector: options.selector, identity })
    return yield* Operator.run({
      ...found,
      selector: options.selector,
      portName: options.portName,
      identity,
      adminKey: key
    })
  })
  const Client = NodeHttpClient.layerUndiciOptions({ bodyTimeout, ...(ca !== undefined && { connect: { ca } }) })
  const Server = HttpServer.serve(answer(metricsKey, Startup.isLoopback(host))).pipe(
    Layer.provide(NodeHttpServer.layer(createServer, { host, port }))
  )
  const Telemetry = Exporter.layer({ serviceName: "ballast-operator", serviceVersion: version }).pipe(
    Layer.provideMerge(Logs.layerConfig)
  )
  return yield* program.pipe(
    Effect.provide(Layer.mergeAll(Client, Server).pipe(Layer.provideMerge(Telemetry))),
    Effect.catchTag("ServeError", (error) => Effect.fail(fromServeError(error, { host, port })))
  )
})
