/** `ballast keys`: the clients of a gateway and their keys, from a terminal. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as RecordsApi from "../../RecordsApi.ts"
import { StartError } from "../../StartError.ts"
import { ask, type Options, type Paint } from "./adminClient.ts"
import { droppedOf } from "./answers.ts"
import { plain, table } from "./table.ts"

type Client = typeof RecordsApi.Client.Type

const timeOf = (millis: number): string =>
  DateTime.formatIso(DateTime.makeUnsafe(millis)).slice(0, 16).replace("T", " ")

const labelsOf = (labels: Client["labels"]): string =>
  plain(Object.entries(labels).map(([name, value]) => `${name}=${value}`).join(" "))

const stateOf = ({ expiresAt, keys, origin, revokedAt }: Client, paint: Paint): string => {
  if (revokedAt !== null) return paint("dim", `revoked ${timeOf(revokedAt)}`)
  const ending = keys.filter((key) => key.expiresAt !== null).length
  const parts = [
    origin === "settings" ? "in the settings" : `${keys.length} ${keys.length === 1 ? "key" : "keys"}`,
    ...(ending === 0 ? [] : [paint("yellow", `${ending} of them rotated out`)]),
    ...(expiresAt === null ? [] : [`until ${timeOf(expiresAt)}`])
  ]
  return parts.join(", ")
}

const limitsOf = ({ currency, limits }: Client): string => {
  const { budget, concurrency, requestsPerMinute, tokensPerMinute } = limits ?? {}
  const parts = [
    [requestsPerMinute, "requests/min"],
    [tokensPerMinute, "tokens/min"],
    [concurrency, "at once"],
    [budget?.day, `${plain(currency)} a day`],
    [budget?.month, `${plain(currency)} a month`]
  ] as const
  return parts.flatMap(([limit, unit]) => limit === undefined ? [] : [`${limit} ${unit}`]).join(", ") || "-"
}

const showList = (clients: ReadonlyArray<Client>, paint: Paint): string =>
  clients.length === 0
    ? "No clients. Make one with: ballast keys create NAME\n"
    : table(
      ["client", "owner", "labels", "models", "from", "limits", "state"],
      clients.map((client) => [
        client.name,
        plain(client.owner ?? "-"),
        labelsOf(client.labels) || "-",
        plain(client.models?.join(" ") ?? "all"),
        client.addresses?.join(" ") ?? "anywhere",
        limitsOf(client),
        stateOf(client, paint)
      ])
    )

/** The key alone on standard output, so that a script can take it up. */
const showMade = ({ client, key }: typeof RecordsApi.Made.Type): string => {
  const ends = client.keys.flatMap(({ expiresAt }) => expiresAt === null ? [] : [expiresAt])
  const others = ends.length === 0 ? "" : ` The keys before it work until ${timeOf(Math.max(...ends))} UTC.`
  process.stderr.write(`The key of ${client.name}. Nothing shows it again.${others}\n`)
  return `${key}\n`
}

const lists = ask(Schema.Array(RecordsApi.Client), showList)
const makes = ask(RecordsApi.Made, showMade)
const revokes = ask(RecordsApi.Client, ({ name }) => `${name} is revoked. Its keys no longer work.\n`)
const left =
  "Not deleted: its keys and limits; answers of shared caches that another client asked for first; answers in the memory of gateways with another database; rows that other processes have yet to write; runs of workflows; logs and spans.\n"

/** A name that is misspelt has nothing, either. */
const nothing = (client: string): string =>
  `There was nothing of ${client}. Names that have calls: ballast usage --by client --since 90d.\n`

const showForgotten = ({ answers, calls, client, feedback, spent, sums }: typeof RecordsApi.Forgotten.Type): string =>
  `Deleted of ${client}: ${calls} calls, ${sums} sums by hour and day, ${feedback} feedback; ${droppedOf(answers)}.\n${
    calls + sums + feedback + spent + answers.exact + answers.semantic + (answers.store ?? 0) === 0
      ? nothing(client)
      : ""
  }${
    spent === 0
      ? ""
      : `Kept until the month is over, for its budgets: what it spent on ${spent} ${
        spent === 1 ? "day" : "days"
      } of it.\n`
  }${left}`

const forgets = ask(RecordsApi.Forgotten, showForgotten)

export const list = (options: Options) => lists(options, "GET", "/clients")

export interface Create {
  readonly name: string
  readonly owner: string | undefined
  readonly labels: ReadonlyArray<string>
  readonly models: ReadonlyArray<string>
  readonly addresses: ReadonlyArray<string>
  readonly expires: string | undefined
  readonly limits: {
    readonly requestsPerMinute: number | undefined
    readonly tokensPerMinute: number | undefined
    readonly concurrency: number | undefined
  }
  readonly budget: { readonly day: number | undefined; readonly month: number | undefined }
}

/** What is left out is not sent; without any, those of `clientLimits` hold. */
const limitsGiven = ({ budget, limits }: Create) => {
  const all = { ...limits, budget: isEmpty(budget) ? undefined : budget }
  return isEmpty(all) ? undefined : all
}

const isEmpty = (values: object): boolean => Object.values(values).every((value) => value === undefined)

const unlessEmpty = <A>(values: ReadonlyArray<A>): ReadonlyArray<A> | undefined =>
  values.length === 0 ? undefined : values

export const create = Effect.fnUntraced(function*(given: Create, options: Options) {
  const labels: Array<readonly [string, string]> = []
  for (const text of given.labels) {
    const [, name, value] = /^([^=]+)=(.*)$/s.exec(text) ?? []
    if (name === undefined || value === undefined) {
      return yield* new StartError({
        detail: `--label is ${JSON.stringify(text)}. Expected name=value, such as team=search.`
      })
    }
    labels.push([name, value])
  }
  yield* makes(options, "POST", "/clients", {
    name: given.name,
    owner: given.owner,
    labels: labels.length === 0 ? undefined : Object.fromEntries(labels),
    models: unlessEmpty(given.models),
    addresses: unlessEmpty(given.addresses),
    expires: given.expires,
    limits: limitsGiven(given)
  })
})

export const rotate = (name: string, overlap: string | undefined, options: Options) =>
  makes(options, "POST", `/clients/${encodeURIComponent(name)}/rotate`, { overlap })

export interface LimitChanges extends Pick<Create, "limits" | "budget"> {
  /** Whether limits that are not given end. */
  readonly only: boolean
}

const limited = ask(
  RecordsApi.Client,
  (client) =>
    client.limits === null
      ? `${client.name} has the limits of all others.\n`
      : `The limits of ${client.name}: ${limitsOf(client)}.\n`
)

/** What is left out stays, or is sent as ended. */
const changesOf = <A extends object>(values: A, only: boolean) =>
  only ? Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value ?? null])) : values

export const limit = (name: string, { budget, limits, only }: LimitChanges, options: Options) =>
  limited(options, "PATCH", `/clients/${encodeURIComponent(name)}`, {
    limits: {
      ...changesOf(limits, only),
      ...(only || !isEmpty(budget)) && { budget: changesOf(budget, only) }
    }
  })

export const revoke = (name: string, options: Options) =>
  revokes(options, "DELETE", `/clients/${encodeURIComponent(name)}`)

export const forget = (name: string, options: Options) =>
  forgets(options, "DELETE", `/clients/${encodeURIComponent(name)}/records`)
