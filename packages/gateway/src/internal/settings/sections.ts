/** The sections of the settings, each field with its default and what it does. */
import * as Source from "@ballast/deepseek/Source"
import * as RouterSettings from "@ballast/router/RouterSettings"
import * as Field from "@ballast/settings/Field"
import * as Fault from "@ballast/simulator/Fault"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { createSecureContext } from "node:tls"
import * as Center from "../../Center.ts"
import * as ClientKeys from "../../ClientKeys.ts"
import * as Database from "../../Database.ts"
import * as Environment from "../../Environment.ts"
import { Limits as ClientLimits } from "../../Limits.ts"
import * as PolicySettings from "../../PolicySettings.ts"
import * as PriceSettings from "../../PriceSettings.ts"
import * as TelemetrySettings from "../../TelemetrySettings.ts"
import { isNetwork } from "../addresses.ts"
import { redisUrl } from "./redisUrl.ts"

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

const Workflows = Field.section({
  files: Schema.Array(Schema.NonEmptyString).pipe(Field.withDefault([])).annotate({
    description:
      "Files of workflows to serve, and folders whose .yaml files are. They are followed. Whether there are any is read at the start."
  }),
  services: Schema.optionalKey(Schema.NonEmptyString).annotate({
    description: "A file whose services: the steps of all workflows may call."
  }),
  env: Schema.Record(Schema.String, Field.secret).pipe(Field.withDefault({})).annotate({
    description: "What expressions see as env, such as TOKEN: ${env:TOKEN}. A change needs a restart."
  }),
  reports: Schema.NonEmptyString.pipe(Field.withDefault("data/reports")).annotate({
    description:
      "Folder that services of the type report write to, where they save. It is made; nothing of it is served."
  }),
  shared: Schema.Boolean.pipe(Field.withDefault(false)).annotate({
    description: "Whether every client sees and steers the runs of all clients, not just its own."
  }),
  wait: Field.duration({ maximum: "1h" }).pipe(Field.withDefault("60s")).annotate({
    description: "How long a request that starts a run waits for its end at most. The run goes on."
  }),
  maxInput: Field.byteSize({ minimum: "1kB", maximum: "16MiB" }).pipe(Field.withDefault("1MiB")).annotate({
    description: "The largest input of a run."
  }),
  maxRuns: count(1, 1_000_000).pipe(Field.withDefault(10_000)).annotate({
    description: "Runs that have not ended, of all clients."
  }),
  keep: Field.duration({ minimum: "1h", maximum: "3650d" }).pipe(Field.withDefault("30d")).annotate({
    description: "How long a run is kept after its end."
  }),
  runner: Field.section({
    host: matching(Environment.hostPattern, "a host name or an IP address").pipe(Field.withDefault("127.0.0.1"))
      .annotate({
        description:
          "On Postgres: where the other gateways reach this one, in a private network. A change needs a restart."
      }),
    port: count(1, 65_535).pipe(Field.withDefault(8790)).annotate({
      description: "On Postgres: the port for that; each further worker takes the next one. A change needs a restart."
    }),
    listenHost: Schema.optionalKey(matching(Environment.hostPattern, "a host name or an IP address")).annotate({
      description: "On Postgres: the address that it listens on. Default: host. A change needs a restart."
    })
  })
})

const Inference = Field.section({
  models: Schema.optionalKey(Schema.NonEmptyString).annotate({
    description:
      "Folder of local models, <name>/<version>/model.onnx, which is watched. Default: no local models. A change of this section needs a restart."
  }),
  memory: Field.byteSize({ minimum: "1MiB" }).pipe(Field.withDefault("2GiB")).annotate({
    description: "What all loaded models may take: bytes of their files, times their sessions."
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

export const All = Schema.Struct({
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
  workflows: Workflows.annotate({ description: "Workflows that are served. Without files there are none." }),
  prices: PriceSettings.Prices,
  limits: Limits,
  log: Log,
  telemetry: TelemetrySettings.Telemetry.annotate({
    description:
      "A collector that gets traces, metrics and logs. Read from the files; OTEL_ variables win. A change needs a restart."
  }),
  files: Files,
  inference: Inference,
  simulator: Simulator,
  redis: Schema.optionalKey(Schema.Struct({
    url: redisUrl.annotate({
      description: "Such as redis://127.0.0.1:6379; it may hold a password. A change needs a restart."
    })
  })).annotate({
    description:
      "A Redis for what several gateways share, such as answers of the caches and rate limits. A change needs a restart."
  }),
  center: Schema.optionalKey(Center.Center).annotate({
    description:
      "A config center that holds settings, over those of the files. A change of this section needs a restart."
  })
})

/** Settings of `ballast serve`, decoded. */
export type GatewaySettings = typeof All.Type
