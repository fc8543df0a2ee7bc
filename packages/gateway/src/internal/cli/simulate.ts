import * as SimulatorServer from "@ballast/simulator/SimulatorServer"
import * as Logs from "@ballast/telemetry/Logs"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { HttpServer } from "effect/http/HttpServer"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Environment from "../../Environment.ts"
import { fromServeError } from "../../StartError.ts"
import * as Startup from "../../Startup.ts"
import { version } from "../../Version.ts"

export interface Options {
  readonly host: Option.Option<string>
  readonly port: Option.Option<number>
  readonly seed: Option.Option<number>
  readonly latency: Option.Option<number>
  readonly ttft: Option.Option<number>
  readonly tps: Option.Option<number>
  readonly reply: Option.Option<string>
}

const millis = (option: Option.Option<number>) => Option.getOrUndefined(Option.map(option, Duration.millis))

/** Serves the simulator until it is interrupted. */
export const simulate = Effect.fnUntraced(function*(options: Options) {
  const host = Option.isSome(options.host) ? options.host.value : yield* Environment.host
  const port = Option.isSome(options.port) ? options.port.value : yield* Environment.port(8788)
  const Server = SimulatorServer.layer({
    host,
    port,
    log: true,
    reply: Option.getOrUndefined(options.reply),
    seed: Option.getOrUndefined(options.seed),
    latency: millis(options.latency),
    timeToFirstToken: millis(options.ttft),
    tokensPerSecond: Option.getOrUndefined(options.tps)
  })
  return yield* Effect.gen(function*() {
    const { address } = yield* HttpServer
    process.stdout.write(Startup.simulatorText({ version, url: Startup.urlOf(host, address) }))
    return yield* Effect.never
  }).pipe(
    Effect.provide(Layer.provideMerge(Server, Logs.layerConfig)),
    Effect.catchTag("ServeError", (error) => Effect.fail(fromServeError(error, { host, port })))
  )
})
