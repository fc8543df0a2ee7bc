/** `ballast admin`: what an operator sees and steers, from a terminal. */
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import * as AdminApi from "../../AdminApi.ts"
import { ask, type Options, type Paint } from "./adminClient.ts"
import { droppedOf } from "./answers.ts"
import { plain, table } from "./table.ts"

const timeOf = (millis: number): string =>
  DateTime.formatIso(DateTime.makeUnsafe(millis)).slice(0, 19).replace("T", " ")

const stateColour = {
  "closed": "dim",
  "half-open": "yellow",
  "open": "red",
  "isolated": "red",
  "disabled": "yellow"
} as const

type Policies = Pick<(typeof AdminApi.Account.Type), "circuits" | "limits">

/** The states of circuits that are not closed, by name; `closed` when all are. */
const circuitsOf = ({ circuits }: Policies, paint: Paint): string => {
  const [only] = circuits
  if (only === undefined) return "-"
  if (circuits.length === 1) return paint(stateColour[only.state], only.state)
  const other = circuits.filter(({ state }) => state !== "closed")
  return other.length === 0
    ? paint("dim", "closed")
    : other.map(({ name, state }) => `${paint(stateColour[state], state)} (${plain(name)})`).join(", ")
}

/** Calls in all limits, and their sum. */
const limitsOf = ({ limits }: Policies): string => {
  if (limits.length === 0) return "-"
  const sum = (of: (limit: Policies["limits"][number]) => number) => limits.reduce((all, one) => all + of(one), 0)
  const queued = sum(({ queued }) => queued)
  return `${sum(({ running }) => running)} of ${sum(({ limit }) => limit)}${queued === 0 ? "" : `, ${queued} wait`}`
}

const latencyOf = (millis: number): string => millis === 0 ? "-" : `${Math.round(millis)} ms`

const workerColour = { ready: "dim", starting: "yellow", silent: "red" } as const

const showWorkers = (workers: (typeof AdminApi.Status.Type)["workers"], paint: Paint): string =>
  workers.length === 0 ? "" : `\n${
    table(
      ["worker", "pid", "state", "since", "restarts", "revision"],
      workers.map(({ pid, restarts, revision, since, state, worker }) => [
        worker,
        pid ?? "-",
        paint(workerColour[state], state),
        timeOf(since),
        restarts,
        revision ?? "-"
      ])
    )
  }`

const showStatus = ({ actsInForce, settings, version, workers }: typeof AdminApi.Status.Type, paint: Paint): string => {
  const { refusal, revision, since, sources } = settings
  const stateOf = { read: "read", copy: paint("yellow", "from its copy"), down: paint("red", "down") }
  return `ballast ${version}, settings of revision ${revision} since ${
    timeOf(since)
  } UTC, acts in force: ${actsInForce}\n\n${
    table(
      ["source", "state", "since", "reason"],
      sources.map(({ name, reason, since, state }) => [plain(name), stateOf[state], timeOf(since), plain(reason ?? "")])
    )
  }${showWorkers(workers, paint)}${
    refusal === null
      ? ""
      : `\n${paint("red", `Refused at ${timeOf(refusal.at)}, the settings above stay:`)}\n${
        refusal.problems.map((problem) => `  ${plain(problem)}\n`).join("")
      }`
  }`
}

const standIn = (to: { readonly model: string } | { readonly text: string }): string =>
  "model" in to ? plain(to.model) : JSON.stringify(plain(to.text))

const showRoutes = (routes: ReadonlyArray<typeof AdminApi.Route.Type>, paint: Paint): string =>
  table(
    ["model", "target", "weight", "in flight", "latency", "circuit", "limit"],
    routes.flatMap(({ model, targets }) =>
      targets.map((target, index) => [
        index === 0 ? plain(model) : "",
        plain(target.name),
        target.weight,
        target.inFlight,
        latencyOf(target.latency),
        target.weight === 0 ? paint("yellow", "drained") : circuitsOf(target, paint),
        limitsOf(target)
      ])
    )
  ) + routes.flatMap(({ degraded, failover, mirror, model }) => [
    ...(degraded === null ? [] : [paint("yellow", `${plain(model)} is degraded: ${standIn(degraded)} answers.`)]),
    ...(failover.length === 0 ? [] : [`${plain(model)} fails over to ${failover.map(plain).join(", ")}.`]),
    ...(mirror === null
      ? []
      : [`${plain(model)} is mirrored to ${plain(mirror.to)}: ${mirror.share * 100} % of the calls.`])
  ]).map((line) => `${line}\n`).join("")

const stateOfAccount = ({ keys, resting }: typeof AdminApi.Account.Type, paint: Paint): string => {
  if (resting !== null) {
    return paint("red", `no balance since ${timeOf(resting.since)}, next look ${timeOf(resting.nextProbe)}`)
  }
  const retired = keys.flatMap(({ position, retired }) => retired === null ? [] : [`key ${position}`])
  if (retired.length === 0) return "usable"
  return retired.length === keys.length
    ? paint("red", "no key is accepted")
    : paint("yellow", `usable, ${retired.join(", ")} refused`)
}

/** The accounts as a table. */
export const showAccounts = (accounts: ReadonlyArray<typeof AdminApi.Account.Type>, paint: Paint): string =>
  table(
    ["provider", "account", "weight", "in flight", "keys", "balance", "limit", "circuit", "state"],
    accounts.map((account) => [
      plain(account.provider),
      plain(account.account),
      account.weight,
      account.inFlight,
      account.keys.length,
      account.balance?.map(({ currency, total }) => plain(`${total} ${currency}`)).join(", ") ?? "-",
      limitsOf(account),
      circuitsOf(account, paint),
      stateOfAccount(account, paint)
    ])
  )

const describe = (order: AdminApi.Order): string => {
  switch (order.do) {
    case "drain":
      return `drain ${order.target} of ${order.model}`
    case "weight":
      return `weight ${order.weight} for ${order.target} of ${order.model}`
    case "isolate":
      return `isolate ${order.circuit}`
    case "close":
      return `close ${order.circuit}`
    case "purge":
      return `purge answers${order.model === undefined ? "" : ` of ${order.model}`}${
        order.client === undefined ? "" : ` to ${order.client}`
      }${order.hash === undefined ? "" : ` of the question ${order.hash}`}`
    case "recover":
      return `recover ${order.provider}`
    case "degrade":
      return `degrade ${order.model} to ${standIn(order.to)}`
    case "reload":
      return "reload the settings"
  }
}

const because = {
  done: "",
  undone: "undone",
  time: "its time was over",
  settings: "the settings changed",
  replaced: "replaced",
  gone: "what it stood on is gone"
} as const

const untilOf = ({ ended, until }: AdminApi.Act, paint: Paint): string => {
  if (ended !== null) {
    return paint(
      "dim",
      ended.because === "done"
        ? "done"
        : `${because[ended.because]} at ${timeOf(ended.at)}${ended.by === null ? "" : ` by ${plain(ended.by)}`}`
    )
  }
  if (typeof until === "number") return `in force until ${timeOf(until)}`
  return until === "settings" ? "in force until the settings change" : "in force until it is undone"
}

const showActs = (acts: ReadonlyArray<AdminApi.Act>, paint: Paint): string =>
  acts.length === 0 ? "No acts.\n" : table(
    ["id", "act", "by", "at (utc)", "state"],
    acts.map((act) => [act.id, plain(describe(act.order)), plain(act.by), timeOf(act.at), untilOf(act, paint)])
  )

const tables = {
  status: ask(AdminApi.Status, showStatus),
  routes: ask(Schema.Array(AdminApi.Route), showRoutes),
  accounts: ask(Schema.Array(AdminApi.Account), showAccounts),
  acts: ask(Schema.Array(AdminApi.Act), showActs)
}

/** Shows how things stand. */
export const show = (what: keyof typeof tables, options: Options) => tables[what](options, "GET", `/${what}`)

const line = (act: AdminApi.Act, paint: Paint): string =>
  `${act.id}: ${plain(describe(act.order))}, ${untilOf(act, paint)}`

const doing = ask(
  AdminApi.Done,
  ({ dropped, ...act }, paint) => `${line(act, paint)}${dropped === null ? "" : `: ${droppedOf(dropped)}`}\n`
)

const undoing = ask(AdminApi.Act, (act, paint) => `${line(act, paint)}\n`)

/** Does something, until it is undone, for a time, or until the settings change. */
export const act = (order: AdminApi.SentOrder, options: Options) => doing(options, "POST", "/acts", order)

/** Undoes an act. */
export const undo = (id: string, options: Options) => undoing(options, "DELETE", `/acts/${encodeURIComponent(id)}`)
