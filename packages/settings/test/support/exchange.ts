/**
 * A server of the tests as a function of requests. In memory it runs under virtual time; over HTTP other programs can use it.
 */
import { Deferred, Effect, Layer } from "effect"
import { HttpClient, HttpClientError, HttpClientResponse } from "effect/http"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

export interface Asked {
  readonly method: string
  /** Path and query as sent. */
  readonly target: string
  readonly url: URL
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly form: URLSearchParams
}

export interface Answered {
  readonly status: number
  readonly body?: string
}

/** Undefined is a connection that breaks. */
export type Exchange = (asked: Asked) => Effect.Effect<Answered | undefined>

/** A server that can be down, slow or restarted, and that holds questions until something changes. */
export const make = (answer: Exchange) => {
  const asked: Array<string> = []
  let down = false
  let slow: Effect.Effect<void> = Effect.void
  let changed = Deferred.makeUnsafe<"changed" | "broken">()
  const wake = (why: "changed" | "broken") =>
    Effect.suspend(() => {
      const old = changed
      changed = Deferred.makeUnsafe()
      return Deferred.succeed(old, why)
    })
  const exchange: Exchange = (request) =>
    Effect.suspend(() => {
      asked.push(`${request.method} ${request.url.pathname}`)
      return down ? Effect.succeed(undefined) : Effect.andThen(slow, answer(request))
    })
  return {
    exchange,
    asked,
    /** Waits for a change; undefined when time is up, "broken" when the server ends. */
    hold: (time: number) =>
      Effect.suspend(() => Effect.raceFirst(Deferred.await(changed), Effect.as(Effect.sleep(time), undefined))),
    changed: wake("changed"),
    down: (is: boolean) => Effect.andThen(Effect.sync(() => down = is), is ? wake("broken") : Effect.void),
    restart: wake("broken"),
    slow: (wait: Effect.Effect<void>) =>
      Effect.sync(() => {
        slow = wait
      })
  }
}

/** An `HttpClient` that asks the server in memory. */
export const inMemory = (exchange: Exchange) =>
  Layer.succeed(
    HttpClient.HttpClient,
    HttpClient.make((request, url) =>
      Effect.gen(function*() {
        const body = request.body._tag === "Uint8Array" ? new TextDecoder().decode(request.body.body) : ""
        const target = url.pathname + url.search
        const answered = yield* exchange({
          method: request.method,
          target,
          url,
          headers: request.headers,
          form: new URLSearchParams(body)
        })
        if (answered === undefined) {
          return yield* new HttpClientError.HttpClientError({
            reason: new HttpClientError.TransportError({ request, cause: { code: "ECONNREFUSED" } })
          })
        }
        const web = new Response(answered.status === 304 ? null : answered.body ?? "", { status: answered.status })
        return HttpClientResponse.fromWeb(request, web)
      })
    )
  )

/** Serves over HTTP until the scope closes; gives the address. */
export const overHttp = Effect.fnUntraced(function*(exchange: Exchange) {
  const run = Effect.runPromiseWith(yield* Effect.context<never>())
  const server = createServer(async (request, response) => {
    let body = ""
    for await (const part of request.setEncoding("utf8")) body += part
    const answered = await run(exchange({
      method: request.method ?? "",
      target: request.url ?? "",
      url: new URL(request.url ?? "", "http://127.0.0.1"),
      headers: Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)])),
      form: new URLSearchParams(body)
    }))
    if (answered === undefined) request.destroy()
    else response.writeHead(answered.status).end(answered.body)
  })
  yield* Effect.acquireRelease(
    Effect.promise(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))),
    () =>
      Effect.sync(() => {
        server.closeAllConnections()
        server.close()
      })
  )
  const { port } = server.address() as AddressInfo
  return `http://127.0.0.1:${port}`
})
