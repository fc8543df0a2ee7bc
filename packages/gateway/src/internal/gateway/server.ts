/** The server of `node:http` or `node:https`. */
import * as Duration from "effect/Duration"
import * as Redacted from "effect/Redacted"
import { createServer } from "node:http"
import { createServer as createSecureServer } from "node:https"
import { type GatewaySettings } from "../../Settings.ts"
import { Response } from "./response.ts"

type Tls = NonNullable<GatewaySettings["listen"]["tls"]>

const contextOf = ({ certificate, key }: Tls) => ({ cert: certificate, key: Redacted.value(key) })

/** The server, and how it follows the settings: connections from now on have a new certificate. */
export const makeServer = ({ limits, listen: { tls } }: GatewaySettings) => {
  const options = {
    ServerResponse: Response,
    keepAliveTimeout,
    requireHostHeader: false,
    ...requestTimes(limits.requestTimeout)
  }
  const secure = tls && createSecureServer({ ...options, ...contextOf(tls) })
  const server = secure ?? createServer(options)
  server.on("checkExpectation", (request, response) => server.emit("request", request, response))
  const update = ({ limits, listen: { tls } }: GatewaySettings): void => {
    server.requestTimeout = server.headersTimeout = requestMillis(limits.requestTimeout)
    if (tls !== undefined) secure?.setSecureContext(contextOf(tls))
  }
  return { server, update }
}

/** Longer than the idle timeout of common load balancers (60 s), so that they close a connection first. */
const keepAliveTimeout = 75_000

const requestMillis = (requestTimeout: Duration.Duration): number =>
  Math.max(1, Math.ceil(Duration.toMillis(requestTimeout)))

/** Node looks at the times of connections now and then only, by default each half minute. */
const requestTimes = (requestTimeout: Duration.Duration) => {
  const millis = requestMillis(requestTimeout)
  return { requestTimeout: millis, headersTimeout: millis, connectionsCheckingInterval: Math.min(1_000, millis) }
}
