/** The commands `ballast usage`, `ballast calls` and `ballast compare`, and their flags. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import { common, optionsOf } from "./commonFlags.ts"
import * as flags from "./flags.ts"

const ledger = Effect.promise(() => import("./ledger.ts"))

const range = {
  since: flags.text("since", "From when: 7d, 12h, 2026-11-01 or 2026-11-01T08:00:00+08:00. Default: 7d", "time"),
  until: flags.text("until", "To when, which does not belong to it. Default: now", "time"),
  model: flags.text("model", "Of one model that clients asked for")
}

const asCsv = flags.on("csv", "Comma-separated values, for a spreadsheet")

const environment = `Environment:
  BALLAST_ADMIN_URL             where the gateway is (http://127.0.0.1:8787)
  BALLAST_ADMIN_KEY             one of its admin keys`

export const usage = Command.make(
  "usage",
  {
    by: Flag.String("by").pipe(
      Flag.withDescription(
        "What it is kept apart by, separated by commas: client, model, provider, account, provider_model, route, arm, hour, day, month, label.NAME. Default: client"
      ),
      Flag.withMetavar("names"),
      Flag.withDefault("client")
    ),
    ...range,
    client: flags.text("client", "Of one client"),
    provider: flags.text("provider", "Of one provider"),
    arm: flags.text("arm", "Of one arm"),
    csv: asCsv,
    ...common
  },
  ({ arm, by, client, csv, model, provider, since, until, ...given }) =>
    Effect.flatMap(
      ledger,
      ({ usage }) =>
        usage({ by, csv, ...flags.valuesOf({ arm, client, model, provider, since, until }) }, optionsOf(given))
    )
).pipe(
  Command.withShortDescription("Show what was used and what it cost"),
  Command.withDescription(
    `Show what was used and what it cost, from the ledger of a gateway that runs. Hours and days are those of UTC; whole hours are counted.\n\n${environment}`
  ),
  Command.withExamples([
    { command: "ballast usage --by client,model --since 7d", description: "Who used which model, last week" },
    {
      command: "ballast usage --client alice --since 2026-11-01 --until 2026-12-01 --by model --csv > alice.csv",
      description: "The invoice of a client and a month"
    }
  ])
)

export const calls = Command.make(
  "calls",
  {
    ...range,
    client: flags.text("client", "Of one client"),
    request: flags.text("request", "Of one request, by its x-request-id"),
    ...common
  },
  ({ client, model, request, since, until, ...given }) =>
    Effect.flatMap(
      ledger,
      ({ calls }) => calls(flags.valuesOf({ client, model, request, since, until }), optionsOf(given))
    )
).pipe(
  Command.withShortDescription("Write the rows of the ledger"),
  Command.withDescription(
    `Write the rows of the ledger of a gateway that runs, as comma-separated values; with --json as a JSON object a line.\n\n${environment}`
  ),
  Command.withExamples([
    {
      command: "ballast calls --client alice --since 2026-11-01 > alice.csv",
      description: "What stands behind an invoice"
    }
  ])
)

const arm = (name: string, description: string) => Argument.String(name).pipe(Argument.withDescription(description))

export const compare = Command.make(
  "compare",
  { a: arm("a", "The name of an arm"), b: arm("b", "The name of the arm beside it"), ...range, ...common },
  ({ a, b, model, since, until, ...given }) =>
    Effect.flatMap(
      ledger,
      ({ compare }) => compare({ a, b, ...flags.valuesOf({ model, since, until }) }, optionsOf(given))
    )
).pipe(
  Command.withShortDescription("Compare two arms of a split"),
  Command.withDescription(
    `Compare two arms of a split: errors, latency, time to first token, tokens, cost and feedback, each with a confidence interval and a verdict.\n\n${environment}`
  ),
  Command.withExamples([
    { command: "ballast compare control candidate --since 7d", description: "What a candidate changed, last week" }
  ])
)
