/** The commands of `ballast keys` and their flags. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { common, optionsOf } from "./commonFlags.ts"
import * as flags from "./flags.ts"

const keys = Effect.promise(() => import("./keys.ts"))

const name = Argument.String("name").pipe(Argument.withDescription("The name of the client"))

/** A flag that can be given several times. */
const several = (flag: string, metavar: string, description: string) =>
  Flag.String(flag).pipe(
    Flag.withDescription(description),
    Flag.withMetavar(metavar),
    Flag.between(0, 100)
  )

const limits = {
  requestsPerMinute: flags.count("requests-per-minute").pipe(
    Flag.withDescription("Requests that may begin in a minute"),
    Flag.optional
  ),
  tokensPerMinute: flags.count("tokens-per-minute").pipe(
    Flag.withDescription("Tokens of prompts and answers in a minute"),
    Flag.optional
  ),
  concurrency: flags.count("concurrency").pipe(Flag.withDescription("Requests that may run at once"), Flag.optional),
  budgetDay: flags.money("budget-day").pipe(
    Flag.withDescription("Money for a day (UTC), in the currency of the prices"),
    Flag.optional
  ),
  budgetMonth: flags.money("budget-month").pipe(Flag.withDescription("Money for a month (UTC)"), Flag.optional)
}

type Limits = Readonly<Record<keyof typeof limits, Option.Option<number>>>

const limitsOf = ({ budgetDay, budgetMonth, concurrency, requestsPerMinute, tokensPerMinute }: Limits) => ({
  limits: flags.valuesOf({ requestsPerMinute, tokensPerMinute, concurrency }),
  budget: flags.valuesOf({ day: budgetDay, month: budgetMonth })
})

const create = Command.make(
  "create",
  {
    name,
    owner: flags.text("owner", "Whom to ask about it"),
    labels: several("label", "name=value", "What routes and reports may ask for, such as team=search"),
    models: several("model", "model", "A model that it may ask for; deepseek-* for all that begin so. Default: all"),
    addresses: several("address", "network", "Where it may call from, such as 10.0.0.0/8. Default: anywhere"),
    expires: flags.text("expires", "When it may no longer call, such as 2027-01-31. Default: never", "time"),
    ...limits,
    ...common
  },
  ({ expires, owner, ...given }) =>
    Effect.flatMap(
      keys,
      ({ create }) => create({ ...given, ...flags.valuesOf({ expires, owner }), ...limitsOf(given) }, optionsOf(given))
    )
).pipe(Command.withDescription("Make a client, and show its key: nothing shows it again."))

const list = Command.make("list", common, (given) => Effect.flatMap(keys, ({ list }) => list(optionsOf(given)))).pipe(
  Command.withDescription("Show the clients: those of the settings, and those that were made while the gateway ran.")
)

const rotate = Command.make(
  "rotate",
  {
    name,
    overlap: flags.text(
      "overlap",
      "How long the keys that there are work on, such as 1h; 0s ends them at once. Default: 24h",
      "duration"
    ),
    ...common
  },
  (given) =>
    Effect.flatMap(keys, ({ rotate }) => rotate(given.name, Option.getOrUndefined(given.overlap), optionsOf(given)))
).pipe(Command.withDescription("Give a client a new key. The others work on for a while."))

const limit = Command.make(
  "limits",
  {
    name,
    ...limits,
    only: flags.on("only", "End the limits that are not given; without any, those of clientLimits hold"),
    ...common
  },
  (given) =>
    Effect.flatMap(keys, ({ limit }) => limit(given.name, { ...limitsOf(given), only: given.only }, optionsOf(given)))
).pipe(Command.withDescription("Change the limits of a client; other processes see it within two seconds."))

const revoke = Command.make(
  "revoke",
  { name, ...common },
  (given) => Effect.flatMap(keys, ({ revoke }) => revoke(given.name, optionsOf(given)))
).pipe(
  Command.withDescription("End all keys of a client at once; other processes see it within two seconds.")
)

const forget = Command.make(
  "forget",
  { name, ...common },
  (given) => Effect.flatMap(keys, ({ forget }) => forget(given.name, optionsOf(given)))
).pipe(
  Command.withDescription(
    "Delete what the ledger has of a client: its calls, their sums, and its feedback; and drop its answers from the caches."
  )
)

export const command = Command.make("keys").pipe(
  Command.withShortDescription("Make, list, rotate and revoke the keys of clients"),
  Command.withDescription(
    `Make, list, rotate and revoke the keys of clients, by the admin API of a gateway that runs. Keys are stored as hashes.

Environment:
  BALLAST_ADMIN_URL             where the gateway is (http://127.0.0.1:8787)
  BALLAST_ADMIN_KEY             one of its admin keys`
  ),
  Command.withExamples([
    {
      command: "ballast keys create alice --label team=search --model \"deepseek-*\"",
      description: "Make a client of a team, for some models"
    },
    {
      command: "ballast keys create alice --requests-per-minute 60 --budget-month 100",
      description: "Make a client with limits"
    },
    {
      command: "ballast keys limits alice --budget-month 200",
      description: "Give it more, and leave the rest as it is"
    },
    { command: "ballast keys rotate alice --overlap 1h", description: "Replace its key without a gap" }
  ]),
  Command.withSubcommands([create, list, limit, rotate, revoke, forget])
)
