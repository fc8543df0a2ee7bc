/**
 * The `ballast` program: `serve`, `simulate`, `chat`, `workflow`, `admin`, `keys`, `usage`, `calls`, `compare`, `top`, `operator`, and `init`, `check`, `schema` and `import` for its settings.
 *
 * Each command is loaded when it runs, so that one does not pay for another's start. What goes wrong is said in one line on standard
 * error, and the exit code is 1. Output that nobody reads is dropped.
 *
 * @since 0.1.0
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Cause from "effect/Cause"
import * as Argument from "effect/cli/Argument"
import * as CliConfig from "effect/cli/CliConfig"
import * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stdio from "effect/Stdio"
import * as Admin from "./internal/cli/adminCommand.ts"
import * as Cache from "./internal/cli/cacheCommand.ts"
import * as CommonFlags from "./internal/cli/commonFlags.ts"
import * as Flags from "./internal/cli/flags.ts"
import * as Keys from "./internal/cli/keysCommand.ts"
import * as Ledger from "./internal/cli/ledgerCommands.ts"
import * as Usage from "./internal/cli/usage.ts"
import * as Workflow from "./internal/cli/workflowCommand.ts"
import { version } from "./Version.ts"

const config = Flags.filled("config", "The settings file (ballast.yaml, if it is there)", "file")

const profile = Flags.filled(
  "profile",
  "Profile, whose file lies over it: ballast.prod.yaml for prod (BALLAST_PROFILE)",
  "name"
)

const sourcesOf = (options: { readonly config: Option.Option<string>; readonly profile: Option.Option<string> }) => ({
  config: Option.getOrUndefined(options.config),
  profile: Option.getOrUndefined(options.profile)
})

const serve = Command.make(
  "serve",
  {
    config,
    profile,
    host: Flags.host("127.0.0.1"),
    port: Flags.port(8787),
    workers: Flags.workers,
    forwardSimulate: Flag.Boolean("forward-simulate").pipe(
      Flag.withDescription(
        "The service is a simulator: the header x-simulate goes on to it (BALLAST_FORWARD_SIMULATE)"
      ),
      Flag.optional
    )
  },
  (options) =>
    Effect.flatMap(
      Effect.promise(() => import("./internal/cli/serve.ts")),
      ({ serve }) =>
        serve({
          ...sourcesOf(options),
          host: Option.getOrUndefined(options.host),
          port: Option.getOrUndefined(options.port),
          workers: Option.getOrUndefined(options.workers),
          forwardSimulate: Option.getOrUndefined(options.forwardSimulate)
        })
    )
).pipe(
  Command.withShortDescription("Run the gateway"),
  Command.withDescription(
    `Run the gateway: an OpenAI-compatible server in front of DeepSeek that retries, limits and breaks circuits for its clients.

With DEEPSEEK_API_KEY set it talks to DeepSeek, without it to an embedded simulator, with providers in ballast.yaml to those. It follows the file while it runs, and reads it again on SIGHUP. Stops cleanly on Ctrl-C or SIGTERM; a second one stops at once.

Environment:
  BALLAST_PROFILE               profile, as --profile (none)
  HOST, PORT                    where to listen (127.0.0.1, 8787)
  BALLAST_WORKERS               processes that serve behind the port, 0 for one a core (1)
  DEEPSEEK_API_KEY              key for DeepSeek; none: the simulator answers
  DEEPSEEK_BASE_URL             where DeepSeek is (https://api.deepseek.com)
  BALLAST_FORWARD_SIMULATE      true when the service is a simulator: the header x-simulate goes on to it (false)
  BALLAST_CLIENT_KEYS           comma-separated keys that clients must send; needed beyond loopback
  BALLAST_ADMIN_KEYS            comma-separated keys that open /admin to see and steer the gateway (none: no /admin)
  BALLAST_MAX_BODY_SIZE         largest body of a request, at most 48MiB (16MiB)
  BALLAST_BODY_MEMORY           memory for the bodies of all requests (a quarter of the heap limit)
  BALLAST_ALLOWED_HOSTS         comma-separated names that a gateway without client keys is called by, beside localhost
  BALLAST_ALLOWED_ORIGINS       comma-separated origins of web pages that may call
  BALLAST_DATABASE              where the ledger and clients' keys are kept (data/ballast.db; :memory: while only the simulator answers)
  BALLAST_REQUEST_TIMEOUT       how long a request may take to arrive (60s)
  BALLAST_SHUTDOWN_TIMEOUT      how long requests may run on when stopping (30s)
  BALLAST_LOG_LEVEL             trace, debug, info, warn, error, fatal or none (info)
  BALLAST_LOG_FORMAT            json or pretty (pretty on a terminal, else json); logs go to standard error
  OTEL_EXPORTER_OTLP_ENDPOINT   collector for traces, metrics and logs (none)
  OTEL_TRACES_EXPORTER          otlp, zipkin or none (otlp)
  OTEL_TRACES_SAMPLER_ARG       share of traces with OTEL_TRACES_SAMPLER=parentbased_traceidratio; failed and slow ones are kept (1)`
  ),
  Command.withExamples([
    { command: "ballast serve", description: "Serve this machine, with the simulator" },
    { command: "DEEPSEEK_API_KEY=sk-... ballast serve --port 9000", description: "Serve DeepSeek on another port" },
    {
      command: "HOST=0.0.0.0 BALLAST_CLIENT_KEYS=key-of-alice,key-of-bob DEEPSEEK_API_KEY=sk-... ballast serve",
      description: "Serve the network"
    }
  ])
)

const settings = Effect.promise(() => import("./internal/cli/settings.ts"))

const init = Command.make(
  "init",
  { config },
  (options) => Effect.flatMap(settings, ({ init }) => init({ config: Option.getOrUndefined(options.config) }))
).pipe(
  Command.withShortDescription("Write a commented settings file"),
  Command.withDescription(
    "Write ballast.yaml with every setting as a comment. It works as it is, and no file is overwritten."
  )
)

const check = Command.make(
  "check",
  { config, profile },
  (options) => Effect.flatMap(settings, ({ check }) => check(sourcesOf(options)))
).pipe(
  Command.withShortDescription("Check the settings"),
  Command.withDescription(
    "Check the settings file, the profile and the environment, and print what is in force, secrets hidden. Exits with 1 when something is wrong, and says where."
  )
)

const schema = Command.make("schema", {}, () => Effect.flatMap(settings, ({ schema }) => schema)).pipe(
  Command.withShortDescription("Print the JSON Schema of the settings file"),
  Command.withExamples([
    { command: "ballast schema > ballast.schema.json", description: "Let an editor complete and explain settings" }
  ])
)

const simulate = Command.make(
  "simulate",
  {
    host: Flags.host("127.0.0.1"),
    port: Flags.port(8788),
    seed: Flags.seed.pipe(
      Flag.withDescription("Number that the answers derive from; the same seed and request give the same answer"),
      Flag.optional
    ),
    latency: Flags.millis("latency").pipe(Flag.withDescription("Milliseconds before any answer"), Flag.optional),
    ttft: Flags.millis("ttft").pipe(Flag.withDescription("Milliseconds until the first token"), Flag.optional),
    tps: Flags.rate("tps").pipe(Flag.withDescription("Tokens per second"), Flag.optional),
    reply: Flags.text("reply", "The text of every answer, in place of a made-up one", "text")
  },
  (options) =>
    Effect.flatMap(Effect.promise(() => import("./internal/cli/simulate.ts")), ({ simulate }) => simulate(options))
).pipe(
  Command.withShortDescription("Run a stand-in for the DeepSeek service"),
  Command.withDescription(
    `Run a stand-in for the DeepSeek service over HTTP: same routes, shapes, errors and streams, made-up answers, any key that starts with "sk-".

A request asks for a fault with the header x-simulate, for example "x-simulate: status=503". The README of @ballast/simulator lists them all.

Each request is a line on standard error.

Environment:
  HOST, PORT                    where to listen (127.0.0.1, 8788)
  BALLAST_LOG_LEVEL             trace, debug, info, warn, error, fatal or none (info)
  BALLAST_LOG_FORMAT            json or pretty (pretty on a terminal, else json)`
  ),
  Command.withExamples([
    { command: "ballast simulate --tps 30 --ttft 800", description: "Answer at a human pace" },
    {
      command: "DEEPSEEK_API_KEY=sk-any DEEPSEEK_BASE_URL=http://127.0.0.1:8788 ballast serve --forward-simulate",
      description: "Put a gateway in front of it"
    }
  ])
)

const chat = Command.make(
  "chat",
  {
    prompt: Argument.String("prompt").pipe(
      Argument.withDescription("What to say to the model; without it the prompt is read from standard input"),
      Argument.variadic()
    ),
    model: Flag.String("model").pipe(
      Flag.withAlias("m"),
      Flag.withDescription("Model to ask. Default: deepseek-flash"),
      Flag.withDefault("deepseek-flash")
    ),
    system: Flag.String("system").pipe(
      Flag.withAlias("s"),
      Flag.withDescription("Instructions that come before the prompt"),
      Flag.optional
    ),
    thinking: Flag.Boolean("thinking").pipe(
      Flag.withDescription("Let the model think first; --no-thinking answers at once"),
      Flag.withDefault(true)
    ),
    hideThinking: Flags.on("hide-thinking", "Let it think, but do not show the thoughts"),
    baseUrl: Flags.filled("base-url", "Where the service or a gateway is (DEEPSEEK_BASE_URL)", "url")
  },
  (options) => Effect.flatMap(Effect.promise(() => import("./internal/cli/chat.ts")), ({ chat }) => chat(options))
).pipe(
  Command.withShortDescription("Ask a model something, or talk with it"),
  Command.withDescription(
    `Ask a model something and stream its answer to the terminal.

Text that is piped in is the prompt, or comes after it. On a terminal, without a prompt, a conversation begins; /exit, Ctrl-D or Ctrl-C ends it.
The thoughts are dimmed. When standard output is piped, it gets the answer only; the thoughts go to standard error.

Environment:
  DEEPSEEK_API_KEY              key for DeepSeek; none: the simulator answers
  DEEPSEEK_BASE_URL             where DeepSeek or a gateway is (https://api.deepseek.com)`
  ),
  Command.withExamples([
    { command: "ballast chat \"Why does a ship carry ballast?\"", description: "Ask, with thoughts" },
    { command: "ballast chat", description: "Hold a conversation" },
    { command: "git diff | ballast chat \"Review this change.\"", description: "Ask about a text" },
    {
      command: "ballast chat --no-thinking -s \"Answer in French.\" \"Hello\" > hello.txt",
      description: "Write the answer to a file"
    },
    {
      command: "ballast chat --base-url http://127.0.0.1:8787 \"Hello\"",
      description: "Ask through a gateway that runs already"
    }
  ])
)

const top = Command.make(
  "top",
  {
    url: CommonFlags.url,
    once: Flags.on("once", "Show one frame and end"),
    interval: Flags.rate("interval").pipe(
      Flag.withDescription("Seconds between two frames. Default: 2"),
      Flag.withDefault(2)
    )
  },
  ({ interval, once, url }) =>
    Effect.flatMap(
      Effect.promise(() => import("./internal/cli/top.ts")),
      ({ top }) => top({ interval, once, url: Option.getOrUndefined(url) })
    )
).pipe(
  Command.withShortDescription("Watch a gateway that runs"),
  Command.withDescription(
    `Watch a gateway that runs: requests and tokens a second, durations, models, circuits, accounts. It reads the metrics and the admin API. Ctrl-C ends it.

Environment:
  BALLAST_ADMIN_URL             where the gateway is (http://127.0.0.1:8787)
  BALLAST_ADMIN_KEY             one of its admin keys
  NO_COLOR                      anything: no colours`
  ),
  Command.withExamples([
    { command: "ballast top", description: "Watch this machine's gateway" },
    { command: "ballast top --once --interval 10", description: "Print what happens in ten seconds" }
  ])
)

const text = (name: string, metavar: string, description: string) =>
  Flag.String(name).pipe(Flag.withDescription(description), Flag.withMetavar(metavar))

const operator = Command.make(
  "operator",
  {
    crd: Flags.on("crd", "Print the CustomResourceDefinition for kubectl apply, and end"),
    namespace: text("namespace", "name", "Namespace to look after; default: the pod's own").pipe(Flag.optional),
    selector: text(
      "selector",
      "labels",
      "Labels of the gateways' pods. Default: app.kubernetes.io/name=ballast,app.kubernetes.io/component=gateway"
    ).pipe(
      Flag.withDefault("app.kubernetes.io/name=ballast,app.kubernetes.io/component=gateway")
    ),
    portName: text("port-name", "name", "Name of the port that the gateways listen on. Default: http").pipe(
      Flag.withDefault("http")
    ),
    url: text("kubernetes-url", "url", "API server; default: the one of the pod's cluster").pipe(Flag.optional),
    host: Flags.host("127.0.0.1"),
    port: Flags.port(8789)
  },
  ({ crd, host, namespace, port, url, ...given }) =>
    Effect.flatMap(
      Effect.promise(() => import("./internal/cli/operator.ts")),
      ({ crd: printed, operator }) =>
        crd ? printed : operator({
          ...given,
          host: Option.getOrUndefined(host),
          namespace: Option.getOrUndefined(namespace),
          port: Option.getOrUndefined(port),
          url: Option.getOrUndefined(url)
        })
    )
).pipe(
  Command.withShortDescription("Look after models on Kubernetes"),
  Command.withDescription(
    `Look after the BallastModels of a namespace: make the gateways' pods load, shift and unload their versions. Several replicas elect a leader. Probes and metrics are at /healthz, /readyz and /metrics.

Environment:
  BALLAST_ADMIN_KEY_FILE        file with one of the gateways' admin keys, read again when it changes
  BALLAST_METRICS_KEY_FILE      file with the key of /metrics, likewise; needed beyond loopback
  BALLAST_ADMIN_KEY             the key itself, when there is no file
  HOST, PORT                    where probes and metrics are (127.0.0.1, 8789)
  BALLAST_LOG_LEVEL             trace, debug, info, warn, error, fatal or none (info)
  BALLAST_LOG_FORMAT            json or pretty (pretty on a terminal, else json)
  OTEL_EXPORTER_OTLP_ENDPOINT   collector for metrics and logs (none)`
  ),
  Command.withExamples([
    { command: "ballast operator --crd | kubectl apply -f -", description: "Install the resource" },
    {
      command: "BALLAST_ADMIN_KEY=... ballast operator --kubernetes-url http://127.0.0.1:8001 --namespace ships",
      description: "Run it outside of the cluster, through kubectl proxy"
    }
  ])
)

const importLiteLlm = Command.make(
  "import",
  { file: Argument.String("file").pipe(Argument.withDescription("The configuration of a LiteLLM proxy")) },
  ({ file }) =>
    Effect.flatMap(
      Effect.promise(() => import("./internal/cli/importConfig.ts")),
      ({ importConfig }) => importConfig(file)
    )
).pipe(
  Command.withShortDescription("Make settings from a LiteLLM configuration"),
  Command.withDescription(
    "Write settings that do what the configuration of a LiteLLM proxy does to standard output, and list what has no counterpart on standard error."
  ),
  Command.withExamples([
    { command: "ballast import litellm.yaml > ballast.yaml", description: "Move from LiteLLM" }
  ])
)

const commands = [
  serve,
  init,
  check,
  schema,
  simulate,
  chat,
  Workflow.command,
  Admin.command,
  Keys.command,
  Ledger.usage,
  Ledger.calls,
  Ledger.compare,
  Cache.command,
  top,
  operator,
  importLiteLlm
] as const

const ballast = Command.make("ballast").pipe(
  Command.withDescription(
    "Ballast keeps DeepSeek calls upright in heavy seas: a gateway with retries, limits and circuit breaking, a simulator, and a chat."
  ),
  Command.withSubcommands(commands)
)

const isTagged = <Tag extends string>(error: unknown, tag: Tag): error is { readonly _tag: Tag } =>
  typeof error === "object" && error !== null && "_tag" in error && error._tag === tag

/** One line for what the person can do something about; everything for a defect. Nothing when help was shown instead. */
const describe = (cause: Cause.Cause<unknown>): string | undefined => {
  const error = Cause.squash(cause)
  if (CliError.isCliError(error) && error._tag === "ShowHelp") return Usage.describe(error)
  if (!Cause.hasDies(cause) && error instanceof Error) return error.message
  if (isTagged(error, "ConfigError") && "cause" in error) {
    return (error.cause instanceof Error ? error.cause.message : String(error)).replace(/\s*\n\s*/g, " ")
  }
  return Cause.pretty(cause)
}

const report = (cause: Cause.Cause<unknown>) =>
  Effect.sync(() => {
    const text = Cause.hasInterruptsOnly(cause) ? undefined : describe(cause)
    if (text !== undefined) process.stderr.write(`ballast: ${text}\n`)
  })

/** Help is shown when it was asked for; a wrong argument is one line, which `report` writes. */
const presenter: CliOutput.Presenter = {
  present: (output) => output._tag === "InvalidInvocation" ? Effect.void : CliOutput.defaultPresenter.present(output)
}

/** `ballast help serve` is `ballast serve --help`, and `ballast version` is `ballast --version`, as in many programs. */
const withFlags = (args: ReadonlyArray<string>): ReadonlyArray<string> => {
  if (args[0] === "help") return withFlags([...args.slice(1), "--help"])
  if (args[0] === "version") return ["--version"]
  // A misspelt command has no help: without the flag, the mistake is told.
  return args[0] === undefined || args[0].startsWith("-") || commands.some(({ name }) => name === args[0])
    ? args
    : args.slice(0, 1)
}

/** A reader that goes away (`| head`, a log collector that restarts) takes no more than its output: requests that run go on. */
const outliveReaders = Effect.sync(() => {
  process.stdout.on("error", () => {})
  process.stderr.on("error", () => {})
})

/**
 * The program, with the arguments of the process.
 *
 * @category running
 * @since 0.1.0
 */
export const main = outliveReaders.pipe(
  Effect.andThen(Effect.flatMap(Stdio.Stdio, ({ args }) => args)),
  Effect.flatMap((args) => Command.runWith(ballast, { version })(withFlags(args))),
  Effect.tapCause(report),
  Effect.provide(Layer.mergeAll(
    NodeServices.layer,
    CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions] }),
    CliOutput.layerPresenter(presenter)
  ))
)
