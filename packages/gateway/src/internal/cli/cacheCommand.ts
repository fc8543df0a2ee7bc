/** The commands of `ballast cache` and their flags. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { common, optionsOf } from "./commonFlags.ts"
import * as flags from "./flags.ts"

const cache = Effect.promise(() => import("./cache.ts"))

const model = Flag.String("model").pipe(Flag.withDescription("A model whose cache compares meanings"))

const explain = Command.make(
  "explain",
  {
    question: Argument.String("question").pipe(Argument.withDescription("What a client might ask")),
    model,
    client: flags.text("client", "Only answers that this client may get"),
    limit: flags.count("limit").pipe(
      Flag.withDescription("How many answers are shown, up to 100"),
      Flag.withDefault(10)
    ),
    ...common
  },
  ({ client, limit, model, question, ...given }) =>
    Effect.flatMap(
      cache,
      ({ explain }) =>
        explain({ model, question, limit, ...Option.isSome(client) && { client: client.value } }, optionsOf(given))
    )
).pipe(Command.withDescription("Show the answers that are nearest to a question, and why each would be given or not."))

const evaluate = Command.make(
  "evaluate",
  {
    file: Argument.String("file").pipe(
      Argument.withDescription("Pairs of questions of your own, one a line: {\"a\": …, \"b\": …, \"same\": true}"),
      Argument.optional
    ),
    model,
    ...common
  },
  ({ file, model, ...given }) =>
    Effect.flatMap(cache, ({ evaluate }) => evaluate(model, Option.getOrUndefined(file), optionsOf(given)))
).pipe(Command.withDescription("Show how many answers would be wrong, or missed, by threshold."))

export const command = Command.make("cache").pipe(
  Command.withShortDescription("See what a cache by meaning gives, and why"),
  Command.withDescription(
    `See what a cache by meaning gives, and why, by the admin API of a gateway that runs.

Environment:
  BALLAST_ADMIN_URL             where the gateway is (http://127.0.0.1:8787)
  BALLAST_ADMIN_KEY             one of its admin keys`
  ),
  Command.withExamples([
    {
      command: "ballast cache explain \"How do I reset my password?\" --model support",
      description: "Why is this a hit?"
    },
    { command: "ballast cache evaluate pairs.jsonl --model support", description: "Choose a threshold" }
  ]),
  Command.withSubcommands([explain, evaluate])
)
