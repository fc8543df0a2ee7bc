/**
 * A service that keeps the keys that it has seen, as a service that changes something has to: what was asked for again gets the first answer again.
 * A step `flaky` fails at first, a step `sum` gives the number that it got plus one, and each other one gives back what it got.
 */
import { Effect } from "effect"
import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

export interface Recorder {
  readonly url: string
  /** The keys of all requests, in order. */
  readonly requests: ReadonlyArray<string>
  /** The processes that asked, as their header `pid` says. */
  readonly processes: ReadonlySet<string>
  /** What was done, by key. */
  readonly effects: ReadonlyMap<string, unknown>
  /** Is called at each request, with the process that asks. */
  onRequest: (key: string, process: string) => void
}

export const make = (delay: () => number) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const requests: Array<string> = []
      const seen = new Set<string>()
      const processes = new Set<string>()
      const effects = new Map<string, unknown>()
      const server = createServer((request, response) => {
        const key = String(request.headers["idempotency-key"])
        let body = ""
        request.setEncoding("utf8").on("data", (part: string) => body += part).on("end", () => {
          const process = String(request.headers["pid"])
          processes.add(process)
          recorder.onRequest(key, process)
          const again = seen.has(key)
          seen.add(key)
          requests.push(key)
          const step = request.url?.slice(1)
          setTimeout(() => {
            if (step === "flaky" && !again) return response.writeHead(503).end()
            const input: unknown = JSON.parse(body)
            if (!effects.has(key)) effects.set(key, step === "sum" ? Number(input) + 1 : input)
            response.end(JSON.stringify(effects.get(key)))
          }, delay())
        })
      })
      server.listen(0, "127.0.0.1")
      await once(server, "listening")
      const recorder: Recorder = {
        url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
        requests,
        processes,
        effects,
        onRequest: () => undefined
      }
      return { recorder, server }
    }),
    ({ server }) =>
      Effect.sync(() => {
        server.closeAllConnections()
        server.close()
      })
  ).pipe(Effect.map(({ recorder }) => recorder))
