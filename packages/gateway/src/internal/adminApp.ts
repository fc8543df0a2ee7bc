/** The admin API as an HTTP app. Loaded at its first request, so that a start does not pay for it. */
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpApiScalar from "effect/http-api/HttpApiScalar"
import { MaxBodySize } from "effect/http/HttpIncomingMessage"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SchemaIssue from "effect/SchemaIssue"
import type { Admin } from "../Admin.ts"
import { AdminApi, AdminKey, CurrentAdmin, Worded, WrongKey, WrongRequest } from "../AdminApi.ts"
import * as inferenceAdmin from "./inferenceAdmin.ts"
import * as recordsAdmin from "./recordsAdmin.ts"

/** Finds an admin by a key. */
export type CheckKey = (key: string) => Effect.Effect<{ readonly name: string }, unknown>

const largest = ByteSize.fromInputUnsafe(65_536)

/** An admin's key is typed into the page, whose script could send it, and knows hosts of its maker. */
const pageHeaders = {
  "content-security-policy":
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src 'self' blob: data:; font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer"
}

const wrongKey = (key: string): WrongKey =>
  new WrongKey({
    error: {
      code: "invalid_admin_key",
      message: key === ""
        ? "An admin key is needed: Authorization: Bearer <key>."
        : "This key is not one of the gateway's admin keys."
    }
  })

const formatIssue = SchemaIssue.makeFormatterStandardSchemaV1()

const keyOf = (segment: PropertyKey | { readonly key: PropertyKey }): string =>
  String(typeof segment === "object" ? segment.key : segment)

const worded = HttpApiMiddleware.layerSchemaErrorTransform(Worded, (error) => {
  const problems = formatIssue(error.cause.issue).issues.map(({ message, path = [] }) =>
    path.length === 0 ? message : `${path.map(keyOf).join(".")}: ${message}`
  )
  return Effect.fail(new WrongRequest({ error: { code: "invalid_request", message: problems.join("; ") } }))
})

export interface Options extends Omit<recordsAdmin.Options, "admin"> {
  readonly localModels: inferenceAdmin.Service | undefined
}

export const make = Effect.fnUntraced(function*(admin: Admin, checkKey: CheckKey, options: Options) {
  const inference = inferenceAdmin.handlers(options.localModels, yield* Effect.scope)
  const handlers = HttpApiBuilder.group(AdminApi, "admin", (handlers) =>
    handlers.handleAll({
      status: () => admin.status,
      routes: () => admin.routes,
      accounts: () => admin.accounts(),
      acts: () => admin.acts,
      act: ({ payload }) => Effect.flatMap(CurrentAdmin, (by) => recordsAdmin.act({ ...options, admin }, payload, by)),
      explainCache: ({ payload }) => admin.explainCache(payload),
      evaluateCache: ({ payload }) => admin.evaluateCache(payload),
      undo: ({ params }) => Effect.flatMap(CurrentAdmin, (by) => admin.undo(params.id, by))
    }))
  const key = Layer.succeed(AdminKey, {
    bearer: (handled, { credential }) =>
      Effect.gen(function*() {
        const key = Redacted.value(credential)
        const { name } = yield* Effect.mapError(checkKey(key), () => wrongKey(key))
        return yield* Effect.provideService(handled, CurrentAdmin, name)
      })
  })
  const api = HttpApiBuilder.layer(AdminApi, { openapiPath: "/admin/openapi.json" }).pipe(
    Layer.provide(
      Layer.provide(
        Layer.mergeAll(handlers, recordsAdmin.clients({ ...options, admin }), recordsAdmin.ledger(options), inference),
        [
          key,
          worded
        ]
      )
    )
  )
  const app = yield* HttpRouter.toHttpEffect(
    Layer.mergeAll(api, HttpApiScalar.layer(AdminApi, { path: "/admin", scalar: { withDefaultFonts: false } })).pipe(
      Layer.provide(HttpServer.layerServices)
    )
  )
  return Effect.map(
    Effect.provideService(app, MaxBodySize, largest),
    (response) =>
      response.headers["content-type"]?.startsWith("text/html") === true
        ? HttpServerResponse.setHeaders(response, pageHeaders)
        : response
  )
})
