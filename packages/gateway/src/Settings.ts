/**
 * Every setting of the gateway, as one schema: messages, the table in the docs, the file that `ballast init` writes and the JSON
 * Schema are made from it.
 *
 * Sources, later over earlier: defaults, `ballast.yaml`, the profile's file, a config center, environment variables, flags. What changes in the files
 * while the gateway runs is put in force as a whole or refused as a whole.
 *
 * @since 0.1.0
 */
import * as Source from "@ballast/deepseek/Source"
import type * as CallContext from "@ballast/router/CallContext"
import * as RouterSettings from "@ballast/router/RouterSettings"
import * as Field from "@ballast/settings/Field"
import * as FileSource from "@ballast/settings/FileSource"
import * as Settings from "@ballast/settings/Settings"
import type { SettingsRefused } from "@ballast/settings/SettingsRefused"
import * as ValuesSource from "@ballast/settings/ValuesSource"
import * as Fault from "@ballast/simulator/Fault"
import type * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { createSecureContext } from "node:tls"
import * as Center from "./Center.ts"
import * as ClientKeys from "./ClientKeys.ts"
import * as Database from "./Database.ts"
import * as Environment from "./Environment.ts"
import { isNetwork } from "./internal/addresses.ts"
import { Limits as ClientLimits } from "./Limits.ts"
import * as PolicySettings from "./PolicySettings.ts"
import * as PriceSettings from "./PriceSettings.ts"
import * as Startup from "./Startup.ts"
import * as TelemetrySettings from "./TelemetrySettings.ts"

const count = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const matching = (pattern: RegExp, expected: string) =>
  Schema.String.check(Schema.makeFilter((text) => pattern.test(text), { expected }))

const texts = (pattern: RegExp, expected: string) =>
  Schema.Array(matching(pattern, expected)).pipe(Field.withDefault([]))

/** Says why two texts are no certificate with its key; undefined when they are. */
const wrongPair = ({ certificate, key }: { readonly certificate: string; readonly key: Redacted.Redacted }) => {
  try {
    createSecureContext({ cert: certificate, key: Redacted.value(key) })
    return undefined
  } catch (error) {
    return `certificate and key can not be used: ${error instanceof Error ? error.message : String(error)}`
  }
}

const Tls = Schema.Struct({
  certificate: Schema.NonEmptyString.annotate({
    description: "The certificate with its chain, in PEM: ${file:tls.crt}. A file that changes is taken up at once."
  }),
  key: Field.secret.annotate({ description: "Its key, in PEM: ${file:tls.key}." })
}).check(Schema.makeFilter(wrongPair))

const network = Schema.String.check(
  Schema.makeFilter(isNetwork, { expected: "an address or a network such as 10.0.0.0/8 or 2001:db8::/32" })
)

const Listen = Field.section({
  host: matching(Environment.hostPattern, "a host name or an IP address").pipe(
    Field.withDefault(Environment.defaultHost)
  ).annotate({
    description: "Address to listen on. Beyond loopback, clients are needed. A change needs a restart."
  }),
  port: count(0, 65_535).pipe(Field.withDefault(Environment.defaultPort)).annotate({
    description: "Port to listen on; 0 takes a free one. A change needs a restart."
  }),
  workers: count(0, 256).pipe(Field.withDefault(1)).annotate({
    description: "Processes that serve, behind one port; 0 for one a core. A change needs a restart."
  }),
  tls: Schema.optionalKey(Tls).annotate({ description: "HTTPS in place of HTTP." }),
  allowedHosts: texts(Environment.allowedHost, "a name without scheme and port").annotate({
    description: "Names that a gateway without clients is called by, beside localhost."
  }),
  allowedOrigins: texts(Environment.allowedOrigin, "an origin without path, such as https://chat.example.com").annotate(
    {
      description: "Origins of web pages that may call, beside pages on loopback."
    }
  ),
  trustedProxies: Schema.Array(network).pipe(Field.withDefault([])).annotate({
    description: "Addresses and networks of proxies whose x-forwarded-for says where a request comes from."
  }),
  keysRequired: Schema.Boolean.pipe(Field.withDefault(false)).annotate({
    description: "Whether a key is needed even while there are no clients, as where all are made by ballast keys."
  })
})

const clientKey = Field.secret.check(Schema.makeFilter(
  (key) => Source.isKey(Redacted.value(key).trim()),
  { expected: `a key of ${Source.usableKey}` }
))

const Client = Schema.Struct({
  keys: Schema.Array(clientKey).check(Schema.isNonEmpty()).annotate({
    description: "Keys that it sends as Authorization: Bearer. Several let one be replaced without a gap."
  }),
  labels: Schema.Record(Schema.String, Schema.String).pipe(Field.withDefault({})).annotate({
    description: "What conditions of routes and reports may ask for, such as a team."
  }),
  owner: Schema.optionalKey(Schema.NonEmptyString).annotate({ description: "Whom to ask about it." }),
  models: Schema.optionalKey(Schema.Array(Schema.NonEmptyString).check(Schema.isNonEmpty())).annotate({
    description: "Models that it may ask for; deepseek-* stands for all that begin so. Default: all."
  }),
  addresses: Schema.optionalKey(Schema.Array(network).check(Schema.isNonEmpty())).annotate({
    description: "Addresses and networks that it may call from. Default: anywhere."
  }),
  expires: Schema.optionalKey(Schema.String.check(Schema.makeFilter(
    (text) => ClientKeys.parseTime(text) !== undefined,
    { expected: "a day or a moment such as 2027-01-31 or 2027-01-31T12:00:00Z" }
  ))).annotate({ description: "When it may no longer call. Default: never." }),
  limits: Schema.optionalKey(ClientLimits).annotate({
    description: "What it may ask for and spend. Default: that of clientLimits."
  })
})

const Admin = Field.section({
  keys: Schema.Record(Schema.String, Schema.Array(clientKey).check(Schema.isNonEmpty())).pipe(Field.withDefault({}))
    .annotate({
      description:
        "Who may see and steer the gateway at /admin, by name, with keys sent as Authorization: Bearer. Empty: there is no /admin."
    })
})

const DeepSeek = Field.section({
  apiKey: Schema.optionalKey(clientKey).annotate({
    description: "Key for DeepSeek, where providers names none. Without one the simulator answers."
  }),
  baseUrl: Schema.String.check(Schema.makeFilter(
    (text) => Source.parseUrl(text) !== undefined,
    { expected: Source.usableUrl }
  )).pipe(Field.withDefault(Environment.defaultBaseUrl)).annotate({
    description: "Where DeepSeek, or a service that speaks its API, is."
  })
})

const Messages = Field.section({
  models: Schema.Record(Schema.String, Schema.NonEmptyString).pipe(
    Field.withDefault({ "claude-opus*": "deepseek-v4-pro", "claude-*": "deepseek-flash" })
  ).annotate({
    description:
      "Which model a name that clients of Messages ask for is, where models has no such name; a * at its end stands for any ending. The first counts."
  })
})

const Limits = Field.section({
  maxBodySize: Field.byteSize({ minimum: "1kB", maximum: "48MiB" }).pipe(Field.withDefault("16MiB")).annotate({
    description: "The largest body of a request."
  }),
  bodyMemory: Schema.optionalKey(Field.byteSize({ minimum: "1MiB" })).annotate({
    description: "Memory for the bodies of all requests at once. Default: a quarter of the heap limit."
  }),
  requestTimeout: Field.duration({ minimum: "1ms", maximum: "1d" }).pipe(Field.withDefault("60s")).annotate({
    description: "How long a request may take to arrive, its body included."
  }),
  shutdownTimeout: Field.duration({ maximum: "1d" }).pipe(Field.withDefault("30s")).annotate({
    description: "How long requests may run on when the gateway stops."
  })
})

const Log = Field.section({
  level: Schema.Literals(["trace", "debug", "info", "warn", "error", "fatal", "none"]).pipe(Field.withDefault("info"))
    .annotate({ description: "The least severe lines that are written." }),
  format: Schema.optionalKey(Schema.Literals(["json", "pretty"])).annotate({
    description: "How a line looks. Default: pretty on a terminal, else json."
  })
})

const Files = Field.section({
  provider: Schema.optionalKey(Schema.NonEmptyString).annotate({
    description: "The provider that keeps uploaded files. Default: the first of the types deepseek and simulator."
  }),
  account: Schema.optionalKey(Schema.NonEmptyString).annotate({
    description: "The account that files belong to; calls that name a file go there. Default: its first."
  })
})

const wrongFault = (text: string): string | undefined =>
  Result.match(Fault.parse(text), {
    onFailure: (problem) => problem.replace(/^x-simulate: /, "").replace(/\.$/, ""),
    onSuccess: ({ scenario }) => scenario && "times and id belong to requests of the header x-simulate"
  })

const PlannedFault = Schema.Struct({
  fault: Schema.String.check(Schema.makeFilter(wrongFault, { expected: "a fault as x-simulate says it" })).annotate({
    description: "What goes wrong, as the header x-simulate says it, such as status=503."
  }),
  share: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })).pipe(Field.withDefault(1)).annotate({
    description: "The share of the calls that it happens to, from 0 to 1."
  })
})

const databaseUrl = Field.secret.check(Schema.makeFilter((url) => Database.problemOf(Redacted.value(url))))

const Ledger = Field.section({
  keepCalls: Field.duration({ minimum: "1h", maximum: "3650d" }).pipe(Field.withDefault("90d")).annotate({
    description: "How long the row of a call is kept."
  }),
  keepHours: Field.duration({ minimum: "1d", maximum: "3650d" }).pipe(Field.withDefault("400d")).annotate({
    description: "How long sums by hour are kept. Sums by day stay."
  }),
  spool: Schema.optionalKey(Schema.NonEmptyString).annotate({
    description: "Folder where rows wait for the database. Default: beside the SQLite file, or data/ballast.spool."
  }),
  maxSpool: Field.byteSize({ minimum: "1MiB" }).pipe(Field.withDefault("256MiB")).annotate({
    description: "Size of all rows that may wait there; later ones are dropped, and counted."
  })
})

const Simulator = Field.section({
  latency: Field.duration({ maximum: "1h" }).pipe(Field.withDefault("20ms")).annotate({
    description: "Time until the embedded simulator begins to answer."
  }),
  timeToFirstToken: Field.duration({ maximum: "1h" }).pipe(Field.withDefault("100ms")).annotate({
    description: "Time until its first token."
  }),
  tokensPerSecond: Schema.Finite.check(Schema.isGreaterThan(0)).pipe(Field.withDefault(600)).annotate({
    description: "How fast it writes.",
    unit: "tokens per second"
  }),
  faults: Schema.Array(PlannedFault).pipe(Field.withDefault([])).annotate({
    description:
      "What goes wrong. The first that happens to a call is the only one; a call's own x-simulate comes in their place."
  }),
  forward: Schema.Boolean.pipe(Field.withDefault(false)).annotate({
    description: "Whether the providers are simulators, to which a client's x-simulate goes on."
  })
})

const { fields } = RouterSettings.RouterSettings

const Model = Schema.Struct({
  ...RouterSettings.Route.fields,
  policies: Schema.optionalKey(PolicySettings.ModelPolicies).annotate({
    description: "Policies of this model. What is left out is as in policies below."
  })
})

const All = Schema.Struct({
  listen: Listen,
  clients: Schema.Record(Schema.String, Client).pipe(Field.withDefault({})).annotate({
    description: "Who may call, by name. Empty lets everyone on this machine call."
  }),
  clientLimits: Schema.optionalKey(ClientLimits).annotate({
    description: "What each client may ask for and spend that has no limits of its own. Default: no limits."
  }),
  admin: Admin,
  deepseek: DeepSeek,
  providers: fields.providers.pipe(Field.withDefault({})).annotate({
    description: "Services that answer, by name. Empty: DeepSeek with the key above, or else the simulator."
  }),
  models: Schema.Record(Schema.String, Model).pipe(Field.withDefault({})).annotate({
    description:
      "Where calls of a model go, by the name that clients ask for; * takes all others. Empty: all go to the first provider."
  }),
  messages: Messages.annotate({ description: "What clients of Anthropic's Messages ask for." }),
  policies: PolicySettings.Policies,
  database: Schema.optionalKey(databaseUrl).annotate({
    description:
      "Where clients' keys and the ledger are kept: the path of a SQLite file, :memory:, or postgres://user:password@host/name. Default: data/ballast.db, or :memory: while only the simulator answers. A change needs a restart."
  }),
  ledger: Ledger.annotate({ description: "The rows of all calls. A change needs a restart." }),
  prices: PriceSettings.Prices,
  limits: Limits,
  log: Log,
  telemetry: TelemetrySettings.Telemetry.annotate({
    description:
      "A collector that gets traces, metrics and logs. Read from the files; OTEL_ variables win. A change needs a restart."
  }),
  files: Files,
  simulator: Simulator,
  redis: Schema.optionalKey(Schema.Struct({
    url: Field.secret.annotate({ description: "Such as redis://127.0.0.1:6379; it may hold a password." })
  })).annotate({
    description:
      "A Redis for what several gateways share, such as answers of the caches and rate limits. A change needs a restart."
  }),
  center: Schema.optionalKey(Center.Center).annotate({
    description:
      "A config center that holds settings, over those of the files. A change of this section needs a restart."
  })
})

/**
 * @category models
 * @since 0.1.0
 */
export type GatewaySettings = typeof All.Type

/**
 * All settings of `ballast serve`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const GatewaySettings = All.check(Schema.makeFilter((settings) => contradictions(settings)))

/**
 * The name of the model that takes all names that are not there.
 *
 * @category constants
 * @since 0.1.0
 */
export const others = "*"

/**
 * The providers and models in force: those of the settings, or DeepSeek by its key, or the simulator; and all models go to the first provider
 * where none is named.
 *
 * @category accessors
 * @since 0.1.0
 */
export const routing = (
  { deepseek, models, providers: named }: Pick<GatewaySettings, "deepseek" | "models" | "providers">
): RouterSettings.RouterSettings => {
  const providers = isEmpty(named) ? standing(deepseek) : named
  const [provider = ""] = Object.keys(providers)
  return {
    providers,
    models: isEmpty(models)
      ? { [others]: { targets: [{ provider, weight: 1 }], choice: "weighted", failover: [] } }
      : models
  }
}

/**
 * The targets of a model's route, or of the route that takes all others; none where there is neither.
 *
 * @category accessors
 * @since 0.1.0
 */
export const targetsOf = (
  { models }: RouterSettings.RouterSettings,
  model: string
): ReadonlyArray<RouterSettings.Target> =>
  ((Object.hasOwn(models, model) ? models[model] : undefined) ?? models[others])?.targets ?? []

/**
 * All places that a call of a model may go to: the targets of its route, and those of its failover.
 *
 * @category accessors
 * @since 0.1.0
 */
export const placesOf = (
  { models }: RouterSettings.RouterSettings,
  model: string
): ReadonlyArray<RouterSettings.Target> => {
  const route = (Object.hasOwn(models, model) ? models[model] : undefined) ?? models[others]
  return route === undefined ? [] : [...route.targets, ...route.failover]
}

const isEmpty = (map: object): boolean => Object.keys(map).length === 0

const standing = ({ apiKey, baseUrl }: GatewaySettings["deepseek"]): RouterSettings.RouterSettings["providers"] => {
  const rest = { choice: "prefix", concurrency: {}, preflight: true, resume: true, warmUp: false } as const
  return apiKey === undefined
    ? { simulator: { type: "simulator", accounts: {}, ...rest } }
    : { deepseek: { type: "deepseek", baseUrl, accounts: { default: { keys: [apiKey], weight: 1 } }, ...rest } }
}

type Problem = { readonly path: ReadonlyArray<string | number>; readonly issue: string }

/** Workers do not see each other's memory. */
const memory = ({ database, listen: { workers } }: GatewaySettings): ReadonlyArray<Problem> =>
  database === undefined || Redacted.value(database) !== ":memory:" || workers === 1 ? [] : [{
    path: ["database"],
    issue: ":memory: is of one process, and listen.workers asks for several. Name a file or a Postgres"
  }]

const contradictions = (settings: GatewaySettings): ReadonlyArray<Problem> => [
  ...reach(settings),
  ...memory(settings),
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
  ...Object.entries(settings.models).flatMap(([name, { policies: own }]) => {
    const issue = PolicySettings.withoutLimit(settings.policies, own)
    return issue === undefined ? [] : [{ path: ["models", name, "policies", "rateLimit"], issue }]
  }),
  ...filesProblems(settings),
  ...RouterSettings.contradictions(routing(settings), policies(settings)).map(({ message, path }) => ({
    path,
    issue: message
  }))
]

const isSimulated = ({ type }: RouterSettings.ProviderSettings): boolean => type === "simulator"

/**
 * The database in force. A gateway that only simulates spends nothing, and leaves no files; of several processes each would have a memory of
 * its own.
 *
 * @category accessors
 * @since 0.1.0
 */
export const database = (settings: GatewaySettings): Redacted.Redacted =>
  settings.database ??
    Redacted.make(
      settings.listen.workers === 1 && Object.values(routing(settings).providers).every(isSimulated)
        ? ":memory:"
        : Database.defaultFile
    )

/**
 * The account that files belong to: that of the settings, or the first one of the first provider that keeps files; undefined where there is
 * none.
 *
 * @category accessors
 * @since 0.1.0
 */
export const filesPlace = (
  settings: Pick<GatewaySettings, "deepseek" | "files" | "models" | "providers">
): CallContext.Place | undefined => {
  const { providers } = routing(settings)
  const provider = settings.files.provider ?? Object.keys(providers).find((name) => keepsFiles(providers[name]))
  if (provider === undefined) return undefined
  const [first = "default"] = Object.keys(providers[provider]?.accounts ?? {})
  return { provider, account: settings.files.account ?? first }
}

const keepsFiles = (provider: RouterSettings.ProviderSettings | undefined): boolean =>
  provider?.type === "deepseek" || provider?.type === "simulator"

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

/**
 * Whether a client's `x-simulate` goes on.
 *
 * @category predicates
 * @since 0.1.0
 */
export const takesFaults = (settings: GatewaySettings): boolean =>
  settings.simulator.forward || Object.values(routing(settings).providers).every(isSimulated)

/**
 * The policies of all models and of single ones.
 *
 * @category accessors
 * @since 0.1.0
 */
export const policies = (settings: GatewaySettings): RouterSettings.Policies =>
  PolicySettings.toRouter(settings, { faulty: takesFaults(settings) })

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

/**
 * Where settings are looked for.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** The settings file. Default: `ballast.yaml`, if it is there. */
  readonly file?: string | undefined
  /** The profile, whose file lies over it: `ballast.prod.yaml` for `prod`. Default: none. */
  readonly profile?: string | undefined
  /** Settings that win over all others, in the form of the file. */
  readonly flags?: object | undefined
}

/**
 * The settings file that is read where none is named.
 *
 * @category defaults
 * @since 0.1.0
 */
export const defaultFile = "ballast.yaml"

/** Parts that are read of the files by themselves: the rest may be right only with what a center holds. */
const rest = [Schema.Record(Schema.String, Schema.Unknown)] as const
const CenterAlone = Schema.StructWithRest(Schema.Struct({ center: All.fields.center }), rest)
const TelemetryAlone = Schema.StructWithRest(Schema.Struct({ telemetry: All.fields.telemetry }), rest)

const filesOf = ({ file, profile }: Options) => {
  const path = file ?? defaultFile
  return [
    FileSource.make(path, { optional: file === undefined }),
    ...(profile === undefined ? [] : [FileSource.profile(path, profile, { optional: false })])
  ]
}

/**
 * Where telemetry is sent, as the files say; undefined when something in them is wrong, which `make` tells.
 *
 * @category accessors
 * @since 0.1.0
 */
export const telemetry = (
  options: Options = {}
): Effect.Effect<TelemetrySettings.Telemetry | undefined, never, FileSystem.FileSystem> =>
  Settings.make(TelemetryAlone, filesOf(options)).pipe(
    Effect.flatMap(({ current }) => current),
    Effect.scoped,
    Effect.match({ onFailure: () => undefined, onSuccess: ({ telemetry }) => telemetry })
  )

/**
 * The settings from their sources, which they follow as long as the scope lives.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<
  Settings.Settings<GatewaySettings>,
  SettingsRefused | Config.ConfigError,
  FileSystem.FileSystem | Scope.Scope
> {
  const { center } = yield* Effect.scoped(
    Effect.flatMap(Settings.make(CenterAlone, filesOf(options)), ({ current }) => current)
  )
  return yield* Settings.make<GatewaySettings, FileSystem.FileSystem>(GatewaySettings, [
    ...filesOf(options),
    ...yield* Center.sources(center),
    yield* Environment.source,
    ValuesSource.make(options.flags ?? {})
  ], { copies: center?.copies })
})

/**
 * Settings that stay as they are, in the form of the file, for programs that bring their own and for tests.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeValues = (
  values: object
): Effect.Effect<Settings.Settings<GatewaySettings>, SettingsRefused, FileSystem.FileSystem | Scope.Scope> =>
  Settings.make<GatewaySettings>(GatewaySettings, [ValuesSource.make(values, "settings")])
