/** What follows the settings: who may call, from where, and with how much. What does not is said, when it changes. */
import * as Settings from "@ballast/settings/Settings"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type * as Scope from "effect/Scope"
import * as AnthropicMessages from "../../AnthropicMessages.ts"
import * as Body from "../../Body.ts"
import type * as Client from "../../Client.ts"
import * as ClientKeys from "../../ClientKeys.ts"
import * as HostCheck from "../../HostCheck.ts"
import type * as Records from "../../Records.ts"
import { Rejection } from "../../Rejection.ts"
import type * as Routes from "../../Routes.ts"
import { type GatewaySettings, others, routing } from "../../Settings.ts"
import * as Startup from "../../Startup.ts"
import * as addresses from "../addresses.ts"
import type { Options } from "./options.ts"

/** Replaced as a whole. */
export interface Live {
  readonly clients: ClientKeys.Clients
  /** Of their budgets. */
  readonly currency: string
  readonly checkKey: ClientKeys.ClientKeys
  /** Proxies whose x-forwarded-for counts. */
  readonly trusted: addresses.Addresses
  readonly checkHost: ReturnType<typeof HostCheck.make>
  readonly bodies: Body.Bodies
  readonly rename: AnthropicMessages.Rename
  readonly admins: ClientKeys.Clients
  readonly checkAdmin: ClientKeys.ClientKeys
}

const adminsOf = ({ admin }: GatewaySettings): ClientKeys.Clients =>
  Object.fromEntries(Object.entries(admin.keys).map(([name, keys]) => [name, { keys, labels: {} }]))

/** `host` is where the gateway listens, which stays. */
const makeLive = (settings: GatewaySettings, host: string, more: ClientKeys.More | undefined): Live => {
  const { clients, limits, listen, messages, prices } = settings
  const admins = adminsOf(settings)
  return {
    admins,
    rename: AnthropicMessages.renames(messages.models, routing(settings).models, others),
    checkAdmin: ClientKeys.make(admins),
    clients,
    currency: prices.currency,
    checkKey: ClientKeys.make(clients, { more, required: listen.keysRequired }),
    trusted: addresses.make(listen.trustedProxies),
    checkHost: HostCheck.make({
      onlyKnownHosts: Object.keys(clients).length === 0 && !listen.keysRequired && Startup.isLoopback(host),
      allowedHosts: listen.allowedHosts,
      allowedOrigins: listen.allowedOrigins
    }),
    bodies: Body.make({
      maxBodySize: Number(limits.maxBodySize),
      memory: limits.bodyMemory === undefined ? undefined : Number(limits.bodyMemory)
    })
  }
}

/** Where a client's key is: clients of Anthropic's send it alone, under a name of its own. */
export const authorizationOf = ({ headers }: HttpServerRequest): string | undefined => {
  const key = headers["x-api-key"]
  return headers["authorization"] ?? (key === undefined ? undefined : `Bearer ${key}`)
}

/** Where a request comes from, behind the trusted proxies. */
export const addressOf = (request: HttpServerRequest, { trusted }: Live) => (): string | undefined =>
  addresses.origin(
    NodeHttpServerRequest.toIncomingMessage(request).socket.remoteAddress,
    request.headers["x-forwarded-for"],
    trusted
  )

/** Who calls a route that is not open. */
export const callerOf = (
  live: Live,
  route: Routes.Route | undefined,
  request: HttpServerRequest
): Effect.Effect<Client.Client, Rejection> => {
  const { admins, checkAdmin, checkKey } = live
  const authorization = authorizationOf(request)
  const client = checkKey(authorization, addressOf(request, live))
  return route?.admins === true && Object.keys(admins).length > 0
    ? Effect.catch(client, (refused) =>
      Effect.mapBoth(checkAdmin(authorization), {
        onFailure: () => refused,
        onSuccess: (admin) => ({ ...admin, isAdmin: true })
      }))
    : client
}

/** Who started a run, as it is now. */
export const ownerOf = (name: string, { admins, checkKey, clients }: Live, records: Records.Records | undefined) => {
  const found = Object.hasOwn(clients, name) ? clients[name] : undefined
  if (found !== undefined) return Effect.succeed(ClientKeys.clientOf(name, found))
  const made = records?.clients.named(name)
  if (made !== undefined) return Effect.succeed(made)
  if (Object.hasOwn(admins, name)) return Effect.succeed<Client.Client>({ name, labels: {} })
  // Without a key, it is the one that everyone is.
  const anyone = Effect.filterOrFail(checkKey(undefined), (client) => client.name === name)
  return Effect.mapError(
    anyone,
    () =>
      new Rejection({
        case: "ModelNotAllowed",
        detail: `The client ${name}, who started the run, is not there any more.`
      })
  )
}

/** What is read once, at the start. */
const fixed = (
  { center, database, inference, ledger, listen: { host, port, tls, workers }, redis, telemetry, workflows }:
    GatewaySettings
) => ({
  center,
  database,
  inference,
  ledger,
  "listen.host": host,
  "listen.port": port,
  "listen.tls": tls !== undefined,
  "listen.workers": workers,
  redis,
  "workflows.files": workflows.files.length > 0,
  "workflows.env": workflows.env,
  "workflows.runner": workflows.runner,
  telemetry
})

/** Says which changes have to wait for a restart. */
const warnOfRestart = (before: GatewaySettings, after: GatewaySettings): Effect.Effect<void> => {
  const [from, to] = [fixed(before), fixed(after)]
  const changed = Object.entries(to).flatMap(([name, value]) =>
    Equal.equals(from[name as keyof typeof from], value) ? [] : [name]
  )
  return changed.length === 0 ? Effect.void : Effect.logWarning("restart needed", { settings: changed })
}

export interface Followed {
  readonly settings: () => GatewaySettings
  readonly live: () => Live
}

/** Follows the settings as long as the scope lives; `changed` sees them too. */
export const follow = Effect.fnUntraced(function*(
  { records, settings }: Options,
  changed: (settings: GatewaySettings) => void
): Effect.fn.Return<Followed, never, Scope.Scope> {
  const first = yield* settings.current
  const liveOf = (settings: GatewaySettings) => makeLive(settings, first.listen.host, records?.clients)
  let now = { settings: first, live: liveOf(first) }
  yield* Settings.follow(settings, (next) =>
    Effect.suspend(() => {
      now = { settings: next, live: liveOf(next) }
      changed(next)
      return warnOfRestart(first, next)
    }))
  return { settings: () => now.settings, live: () => now.live }
})
