/** The live page: what happened so far, and then what happens, as server-sent events. */
import { NodeHttpServer } from "@effect/platform-node"
import { Context, Effect, Layer, PubSub, Stream } from "effect"
import { HttpRouter, HttpServer, HttpServerResponse } from "effect/http"
import * as Fs from "node:fs"
import { createServer } from "node:http"
import { clock, districtOf, districts, type Frame } from "./city.ts"
import type { Warning } from "./warnings.ts"

/** Events that are kept for a page that opens late, and for one that reads slowly. */
const kept = 512

const html = Fs.readFileSync(new URL("page.html", import.meta.url), "utf8")

const eventOf = (name: string, data: object) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`

/** Serves the page until the scope closes. */
export const serve = Effect.fnUntraced(function*(port: number) {
  const events = yield* PubSub.sliding<string>({ capacity: kept, replay: kept })
  const stream = HttpServerResponse.stream(Stream.encodeText(Stream.fromPubSub(events)), {
    contentType: "text/event-stream",
    headers: { "cache-control": "no-store" }
  })
  const routes = Layer.mergeAll(
    HttpRouter.add("GET", "/", HttpServerResponse.html(html)),
    HttpRouter.add("GET", "/events", stream)
  )
  const server = HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provideMerge(
      NodeHttpServer.layer(createServer, { host: "127.0.0.1", port, gracefulShutdownTimeout: "1 second" })
    )
  )
  const { address } = Context.get(yield* Layer.build(server), HttpServer.HttpServer)
  return {
    url: address._tag === "UnixPathAddress" ? address.path : `http://127.0.0.1:${address.port}/`,
    warning: (warning: Warning) => PubSub.publish(events, eventOf("warning", { ...warning, time: clock(warning.at) })),
    frame: ({ at, counts }: Frame, loads: ReadonlyArray<number>) =>
      PubSub.publish(
        events,
        eventOf("frame", {
          time: clock(at),
          districts: districts.map((name, index) => ({
            name,
            load: loads[index],
            counts: counts.filter((_, sensor) => districtOf(sensor) === index)
          }))
        })
      )
  }
})
