/** The commands of `ballast admin` and their flags. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { SentOrder } from "../../AdminApi.ts"
import { StartError } from "../../StartError.ts"
import { type Common, common, optionsOf } from "./commonFlags.ts"
import * as flags from "./flags.ts"

const admin = Effect.promise(() => import("./admin.ts"))

const lasting = {
  for: flags.text("for", "How long it holds, such as 10m; else until it is undone", "duration"),
  untilSettings: flags.on("until-settings", "It holds until the settings change")
}

interface Lasting {
  readonly for: Option.Option<string>
  readonly untilSettings: boolean
}

const lastingOf = (given: Lasting): { readonly for?: string; readonly until?: "settings" } => ({
  ...(Option.isSome(given.for) ? { for: given.for.value } : undefined),
  ...(given.untilSettings ? { until: "settings" } : undefined)
})

const act = (order: SentOrder, given: Common) => Effect.flatMap(admin, ({ act }) => act(order, optionsOf(given)))

const wrong = (detail: string) => Effect.fail(new StartError({ detail }))

const shows = (what: "status" | "routes" | "accounts" | "acts", description: string) =>
  Command.make(what, common, (given) => Effect.flatMap(admin, ({ show }) => show(what, optionsOf(given)))).pipe(
    Command.withDescription(description)
  )

const model = Argument.String("model").pipe(Argument.withDescription("A model of the settings"))
const target = Argument.String("target").pipe(Argument.withDescription("One of its targets, as \"routes\" names it"))
const circuit = Argument.String("circuit").pipe(
  Argument.withDescription("A circuit, such as deepseek/main/deepseek-flash; a wrong name lists them")
)

const drain = Command.make(
  "drain",
  { model, target, ...lasting, ...common },
  (given) => act({ do: "drain", model: given.model, target: given.target, ...lastingOf(given) }, given)
).pipe(
  Command.withDescription("Give a target no new calls. Those under way go on.")
)

const weight = Command.make(
  "weight",
  {
    model,
    target,
    weight: Argument.Finite("weight").pipe(Argument.withDescription("Its share of the calls beside the others")),
    ...lasting,
    ...common
  },
  (given) =>
    act({ do: "weight", model: given.model, target: given.target, weight: given.weight, ...lastingOf(given) }, given)
).pipe(Command.withDescription("Set the weight of a target."))

const isolate = Command.make(
  "isolate",
  { circuit, ...lasting, ...common },
  (given) => act({ do: "isolate", circuit: given.circuit, ...lastingOf(given) }, given)
).pipe(Command.withDescription("Keep a circuit open: its calls go elsewhere."))

const reset = Command.make(
  "reset",
  {
    circuit: Argument.optional(circuit),
    provider: flags.text("provider", "A provider, whose accounts and keys are used again at once"),
    ...common
  },
  (given) => {
    const { circuit, provider } = given
    if (Option.isSome(circuit) === Option.isSome(provider)) {
      return wrong("reset takes a circuit or --provider, and one of them only.")
    }
    return Option.isSome(circuit)
      ? act({ do: "close", circuit: circuit.value }, given)
      : act({ do: "recover", provider: Option.getOrElse(provider, () => "") }, given)
  }
).pipe(Command.withDescription("Close a circuit and forget its failures, or end the outages of a provider."))

const degrade = Command.make(
  "degrade",
  {
    model,
    to: flags.text("to", "The model that answers in its place", "model"),
    text: flags.text("text", "The text that answers in its place"),
    ...lasting,
    ...common
  },
  (given) => {
    const { model, text, to } = given
    if (Option.isSome(text) === Option.isSome(to)) return wrong("degrade takes --to or --text, and one of them only.")
    const standIn = Option.isSome(to) ? { model: to.value } : { text: Option.getOrElse(text, () => "") }
    return act({ do: "degrade", model, to: standIn, ...lastingOf(given) }, given)
  }
).pipe(Command.withDescription("Let another model, or a fixed text, answer in place of a model."))

const purge = Command.make(
  "purge",
  {
    client: flags.text("client", "Only answers to this client"),
    model: flags.text("model", "Only answers of this model"),
    hash: flags.text("hash", "Only the answer to the question of this x-ballast-cache-question"),
    olderThan: flags.text("older-than", "Only answers kept in memory for longer than this, such as 1h"),
    ...common
  },
  (given) =>
    act({
      do: "purge",
      ...Option.isSome(given.client) && { client: given.client.value },
      ...Option.isSome(given.model) && { model: given.model.value },
      ...Option.isSome(given.hash) && { hash: given.hash.value },
      ...Option.isSome(given.olderThan) && { olderThan: given.olderThan.value }
    }, given)
).pipe(Command.withDescription("Drop answers from the caches."))

const undo = Command.make(
  "undo",
  { id: Argument.String("id").pipe(Argument.withDescription("The id of an act, as \"acts\" lists it")), ...common },
  (given) => Effect.flatMap(admin, ({ undo }) => undo(given.id, optionsOf(given)))
).pipe(Command.withDescription("Undo an act: what the settings say holds again."))

const reload = Command.make("reload", common, (given) => act({ do: "reload" }, given)).pipe(
  Command.withDescription("Read the settings again.")
)

export const command = Command.make("admin").pipe(
  Command.withShortDescription("See and steer a gateway that runs"),
  Command.withDescription(
    `See and steer a gateway that runs, by its admin API. What is done holds until it is undone, for a time, or until the settings change; "acts" lists it.

Environment:
  BALLAST_ADMIN_URL             where the gateway is (http://127.0.0.1:8787)
  BALLAST_ADMIN_KEY             one of its admin keys
  NO_COLOR                      anything: no colours`
  ),
  Command.withExamples([
    { command: "ballast admin routes", description: "Show models, their targets and how they are" },
    { command: "ballast admin drain deepseek-flash ark --for 30m", description: "Drain a target before maintenance" },
    { command: "ballast admin degrade deepseek-pro --to deepseek-flash", description: "Answer with a cheaper model" }
  ]),
  Command.withSubcommands([
    shows("status", "Show how the settings stand."),
    shows("routes", "Show models and their targets: weights, load, circuits, limits."),
    shows("accounts", "Show accounts: limits, balance, and which keys were refused."),
    shows("acts", "Show what was done, and what is in force."),
    drain,
    weight,
    isolate,
    reset,
    degrade,
    purge,
    undo,
    reload
  ])
)
