/**
 * The routes of files: upload, list, look up, delete, as OpenAI's SDK asks for them.
 *
 * All files belong to one account, which the settings name (`files`) or which is the first that keeps files; a chat that names a file goes
 * there. An upload is passed on as it comes: the gateway holds no more of it than the network does, and sends it once. It may take ten
 * minutes, and no longer than the setting `limits.requestTimeout`.
 *
 * @since 0.1.0
 */
import * as WireText from "@ballast/chat/WireText"
import * as Files from "@ballast/deepseek/Files"
import * as RouteInfo from "@ballast/router/RouteInfo"
import * as NodeStream from "@effect/platform-node/NodeStream"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Stream from "effect/Stream"
import * as Body from "./Body.ts"
import type { Failure } from "./ErrorResponse.ts"
import type { Exchange } from "./internal/exchange.ts"
import { Rejection } from "./Rejection.ts"
import type { Handler, Route } from "./Routes.ts"
import type { Upstream } from "./Upstream.ts"

/** What a form may have beside the file. */
const envelope = 64 * 1024

const largest = Files.limits.size + envelope

const tooLarge = new Rejection({
  case: "BodyTooLarge",
  detail: `The upload is larger than a file may be: ${Files.limits.size / 1024 / 1024} MiB.`,
  param: "file"
})

const unreadable = new Rejection({ case: "BodyUnreadable", detail: "The upload could not be read to its end." })

const formType = /^multipart\/form-data *;.*\bboundary=/i

const wrongType = (type: string | undefined) =>
  new Rejection({
    case: "UnsupportedMediaType",
    detail: `The request has ${
      type === undefined ? "no content type" : `content type ${JSON.stringify(type.slice(0, 256))}`
    }. Send the file as a form: "content-type: multipart/form-data; boundary=…", with the fields file and purpose.`
  })

/** The body as it comes, which fails where it is longer than it may be. */
const bodyOf = (request: HttpServerRequest): Stream.Stream<Uint8Array, Rejection> =>
  Stream.suspend(() => {
    let size = 0
    const bytes = NodeStream.fromReadable<Uint8Array, Rejection>({
      evaluate: () => Body.sourceOf(request),
      onError: () => unreadable,
      // The answer has to go the same way back.
      closeOnDone: false
    })
    return Stream.mapEffect(bytes, (piece) => {
      size += piece.length
      return size > largest ? Effect.fail(tooLarge) : Effect.succeed(piece)
    })
  })

const formOf = (request: HttpServerRequest): Files.Form<Rejection> | Rejection => {
  const { "content-length": length, "content-type": contentType } = request.headers
  if (contentType === undefined || !formType.test(contentType)) return wrongType(contentType)
  const contentLength = length === undefined ? undefined : Number(length)
  if (contentLength !== undefined && contentLength > largest) return tooLarge
  return { contentType, contentLength, body: bodyOf(request) }
}

const wrong = (param: string, expected: string) =>
  new Rejection({ case: "InvalidField", param, detail: `\`${param}\` must be ${expected}.` })

const queryOf = ({ url }: HttpServerRequest): Files.Query | Rejection => {
  const { searchParams } = new URL(url, "http://gateway.invalid")
  const of = (name: string) => searchParams.get(name) ?? undefined
  const limit = of("limit")
  const order = of("order")
  if (limit !== undefined && !/^\d{1,4}$/.test(limit)) {
    return wrong("limit", `a whole number from 1 to ${Files.limits.page}`)
  }
  if (order !== undefined && order !== "asc" && order !== "desc") return wrong("order", "\"asc\" or \"desc\"")
  return {
    after: of("after"),
    purpose: of("purpose"),
    order,
    limit: limit === undefined ? undefined : Number(limit)
  }
}

const json = (value: object) => HttpServerResponse.text(WireText.stringify(value), { contentType: "application/json" })

type Call = (
  files: Files.Files<Failure>,
  request: HttpServerRequest,
  exchange: Exchange
) => Effect.Effect<object, Failure>

const fromRejected = <A>(checked: A | Rejection, call: (value: A) => Effect.Effect<object, Failure>) =>
  checked instanceof Rejection ? Effect.fail(checked) : call(checked)

/**
 * The routes, by their paths without a version.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (upstream: Pick<Upstream, "files" | "filesPlace">): ReadonlyArray<Route> => {
  const handler = (call: Call): Handler => (exchange, request) =>
    Effect.flatMap(upstream.files, (files) => {
      exchange.place = { ...RouteInfo.make(), ...upstream.filesPlace() }
      return Effect.map(call(files, request, exchange), json)
    })
  const id = ({ params }: Exchange) => params["id"] ?? ""
  return [
    {
      path: "/files",
      methods: {
        POST: handler((files, request) => fromRejected(formOf(request), (form) => files.uploadForm(form))),
        GET: handler((files, request) => fromRejected(queryOf(request), (query) => files.page(query)))
      }
    },
    {
      path: "/files/:id",
      name: "/files/{id}",
      methods: {
        GET: handler((files, _, exchange) => files.get(id(exchange))),
        DELETE: handler((files, _, exchange) => files.delete(id(exchange)))
      }
    }
  ]
}
