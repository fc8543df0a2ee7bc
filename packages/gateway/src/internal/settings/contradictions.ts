/** Settings that are right by themselves, and can not be together. */
import * as RouterSettings from "@ballast/router/RouterSettings"
import * as Redacted from "effect/Redacted"
import * as ClientKeys from "../../ClientKeys.ts"
import * as Database from "../../Database.ts"
import * as PolicySettings from "../../PolicySettings.ts"
import * as PriceSettings from "../../PriceSettings.ts"
import * as Startup from "../../Startup.ts"
import { filesPlace, isEmpty, keepsFiles, policies, routing } from "./inForce.ts"
import type { GatewaySettings } from "./sections.ts"

type Problem = { readonly path: ReadonlyArray<string | number>; readonly issue: string }

/** Workers do not see each other's memory. */
const memory = ({ database, listen: { workers } }: GatewaySettings): ReadonlyArray<Problem> =>
  database === undefined || Redacted.value(database) !== ":memory:" || workers === 1 ? [] : [{
    path: ["database"],
    issue: ":memory: is of one process, and listen.workers asks for several. Name a file or a Postgres"
  }]

/** Each worker would be an engine of its own on one file, and run what others run. */
const engines = ({ database, listen: { workers }, workflows: { files } }: GatewaySettings): ReadonlyArray<Problem> =>
  files.length === 0 || workers === 1 || database !== undefined && Database.isPostgres(Redacted.value(database)) ?
    [] :
    [{
      path: ["workflows", "files"],
      issue: "several workers run workflows on a Postgres alone. Name one as the database, or set listen.workers to 1"
    }]

/** All of them, by the place to change. */
export const contradictions = (settings: GatewaySettings): ReadonlyArray<Problem> => [
  ...reach(settings),
  ...memory(settings),
  ...engines(settings),
  ...keyProblems(settings.clients, (name) => ["clients", name], ["keys"]),
  ...keyProblems(
    Object.fromEntries(Object.entries(settings.admin.keys).map(([name, keys]) => [name, { keys }])),
    (name) => ["admin", "keys", name],
    []
  ),
  ...PriceSettings.unknownHours(settings.prices).map(({ index, name }) => ({
    path: ["prices", "list", index, "peakHours"],
    issue: `there are no peak hours ${name}; known: ${
      ["deepseek", ...Object.keys(settings.prices.peakHours)].join(", ")
    }`
  })),
  ...currencyProblems(settings),
  ...Object.entries(settings.models).flatMap(([name, { policies: own }]) => {
    const issue = PolicySettings.withoutLimit(settings.policies, own)
    return issue === undefined ? [] : [{ path: ["models", name, "policies", "rateLimit"], issue }]
  }),
  ...filesProblems(settings),
  ...inferenceProblems(settings),
  ...RouterSettings.contradictions(routing(settings), policies(settings)).map(({ message, path }) => ({
    path,
    issue: message
  }))
]

/** Budgets are kept in one currency: no call could be compared with them. What local models cost is in any. */
const currencyProblems = (settings: GatewaySettings): ReadonlyArray<Problem> => {
  const known = PriceSettings.otherCurrencies(settings.prices)
  const { providers } = routing(settings)
  return known === undefined || Object.values(providers).every(({ type }) => type === "local") ? [] : [{
    path: ["prices", "currency"],
    issue: `no price is in ${settings.prices.currency}; known: ${known.join(", ")}`
  }]
}

/** A place for files that is none. */
const filesProblems = (settings: GatewaySettings): ReadonlyArray<Problem> => {
  const { account, provider } = settings.files
  const { providers } = routing(settings)
  const listed = (names: ReadonlyArray<string>) => `known: ${names.join(", ") || "none"}`
  if (provider !== undefined && !(Object.hasOwn(providers, provider) && keepsFiles(providers[provider]))) {
    const names = Object.keys(providers).filter((name) => keepsFiles(providers[name]))
    return [{
      path: ["files", "provider"],
      issue: `there is no provider ${provider} that keeps files; ${listed(names)}`
    }]
  }
  const place = filesPlace(settings)
  const accounts = Object.keys(providers[place?.provider ?? ""]?.accounts ?? {})
  return account === undefined || accounts.includes(account)
    ? []
    : [{ path: ["files", "account"], issue: `there is no account ${account}; ${listed(accounts)}` }]
}

/** Each process would load all models, and an operator's act would reach one of them. */
const inferenceProblems = ({ inference, listen: { workers } }: GatewaySettings): ReadonlyArray<Problem> =>
  inference.models === undefined || workers === 1 ? [] : [{
    path: ["inference", "models"],
    issue: "local models run in one process, which uses all cores for them; set listen.workers to 1"
  }]

/** Refuses to serve everyone in the network without client keys. */
const reach = ({ clients, listen: { host, keysRequired } }: GatewaySettings): ReadonlyArray<Problem> =>
  Startup.isLoopback(host) || keysRequired || !isEmpty(clients) ? [] : [{
    path: ["listen", "host"],
    issue:
      `${host} lets other machines in, who could spend your balance. Name clients with the keys that they must send ` +
      "(BALLAST_CLIENT_KEYS), or listen on 127.0.0.1 to serve this machine only"
  }]

type Owners = Readonly<Record<string, { readonly keys: ReadonlyArray<Redacted.Redacted> }>>

/** Names that are none, and keys of two owners. */
const keyProblems = (
  owners: Owners,
  path: (name: string) => ReadonlyArray<string>,
  within: ReadonlyArray<string>
): ReadonlyArray<Problem> => {
  const found: Array<Problem> = []
  const byKey = new Map<string, string>()
  for (const [name, { keys }] of Object.entries(owners)) {
    if (!ClientKeys.isName(name)) {
      found.push({ path: path(name), issue: "expected a name of 1 to 64 letters, digits, _, . and -" })
    }
    keys.forEach((key, index) => {
      const owner = byKey.get(Redacted.value(key))
      if (owner !== undefined) {
        found.push({ path: [...path(name), ...within, index], issue: `this key is given to ${owner} already` })
      }
      byKey.set(Redacted.value(key), name)
    })
  }
  return found
}
