/** The client that calls services over HTTP: the bounds of steps alone end a call, no redirect is followed, and each call has a span. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"

export const layer: Layer.Layer<HttpClient.HttpClient> = Layer.effect(
  HttpClient.HttpClient,
  Effect.gen(function*() {
    const Undici = yield* Effect.promise(() => import("@ballast/deepseek/Undici"))
    const client = Context.get(yield* Layer.build(Undici.layer({ proxy: false })), HttpClient.HttpClient)
    return HttpClient.make((request) => client.execute(request))
  })
)
