/**
 * The gateway's routes: a path, which may have parameters, with a handler for each method.
 *
 * `HEAD` works where `GET` does, and `OPTIONS` lists the methods.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as FindMyWay from "effect/http/FindMyWay"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Scope from "effect/Scope"
import type { Dialect } from "./Dialect.ts"
import type { Failure } from "./ErrorResponse.ts"
import type { Exchange } from "./internal/exchange.ts"
import { Rejection } from "./Rejection.ts"

/**
 * Answers a request.
 *
 * @category models
 * @since 0.1.0
 */
export type Handler = (
  exchange: Exchange,
  request: HttpServerRequest
) => Effect.Effect<HttpServerResponse.HttpServerResponse, Failure, Scope.Scope>

/**
 * @category models
 * @since 0.1.0
 */
export interface Route {
  /** `:name` stands for a segment, `*` at the end for the rest. */
  readonly path: `/${string}`
  /** What metrics, spans and logs call it. Default: the path. */
  readonly name?: string
  readonly methods: Readonly<Record<string, Handler>>
  /** Needs no client key. */
  readonly open?: boolean
  /** An admin's key opens it, as a client's does. */
  readonly admins?: boolean
  /** Is logged at `Debug` when nothing fails. */
  readonly quiet?: boolean
  /** How its errors are written. Default: that of OpenAI's chat. */
  readonly dialect?: Pick<Dialect, "error" | "headers">
}

/**
 * A route, and what the path has in place of its parameters.
 *
 * @category models
 * @since 0.1.0
 */
export interface Match {
  readonly route: Route
  readonly params: Readonly<Record<string, string | undefined>>
}

/**
 * Finds the route of a path.
 *
 * @category models
 * @since 0.1.0
 */
export type Routes = (path: string) => Match | undefined

/** The tree of all paths: which methods one takes, its route says. */
const any = "*"

/** Longer parameters have no route. */
const maxParamLength = 512

/**
 * Throws when two routes have the same path.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (routes: ReadonlyArray<Route>): Routes => {
  const router = FindMyWay.make<Route>({ caseSensitive: true, maxParamLength })
  for (const route of routes) router.on(any, route.path, route)
  return (path) => {
    const found = router.find(any, path)
    return found && { route: found.handler, params: found.params }
  }
}

const methodsOf = ({ methods }: Route): string => {
  const names = Object.keys(methods)
  return [...names, ...("GET" in methods ? ["HEAD"] : []), "OPTIONS"].join(", ")
}

/**
 * @category errors
 * @since 0.1.0
 */
export const unknownRoute = (path: string) =>
  new Rejection({
    case: "UnknownRoute",
    detail: `There is no ${path} here. Chat is at POST /v1/chat/completions, the models are at GET /v1/models.`
  })

const wrongMethod = (route: Route, { method, path }: Exchange) =>
  new Rejection({
    case: "MethodNotAllowed",
    detail: `${path} takes ${Object.keys(route.methods).join(", ")}, not ${method}.`,
    allow: methodsOf(route)
  })

/**
 * The handler of a request by its route and method.
 *
 * @category combinators
 * @since 0.1.0
 */
export const dispatch = (route: Route | undefined, exchange: Exchange): Effect.Effect<Handler, Rejection> => {
  if (route === undefined) return Effect.fail(unknownRoute(exchange.path))
  const { method } = exchange
  const handler = route.methods[method === "HEAD" ? "GET" : method]
  if (handler !== undefined && Object.hasOwn(route.methods, method === "HEAD" ? "GET" : method)) {
    return Effect.succeed(handler)
  }
  return method === "OPTIONS"
    ? Effect.succeed(() => Effect.succeed(HttpServerResponse.empty({ headers: { allow: methodsOf(route) } })))
    : Effect.fail(wrongMethod(route, exchange))
}
