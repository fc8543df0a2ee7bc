/**
 * Watches a day of a made-up city, and says how many of the things that went wrong were found.
 *
 *     npm start --workspace @ballast/example-city-warning
 *     npm start --workspace @ballast/example-city-warning -- --serve
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, Random, References } from "effect"
import { Command, Flag } from "effect/cli"
import { clock, day } from "./city.ts"
import * as Page from "./page.ts"
import * as Warnings from "./warnings.ts"
import { watch } from "./watch.ts"

const command = Command.make("city-warning", {
  seed: Flag.Int("seed").pipe(
    Flag.withDescription("What the day is made from: the same seed gives the same day"),
    Flag.withDefault(1)
  ),
  serve: Flag.Boolean("serve").pipe(
    Flag.withDescription("Show the day on a page, and keep it open at the end"),
    Flag.withDefault(false)
  ),
  port: Flag.Int("port").pipe(Flag.withDescription("The port of the page; 0 takes a free one"), Flag.withDefault(8789)),
  pace: Flag.Int("pace").pipe(
    Flag.withDescription("Milliseconds from frame to frame on the page"),
    Flag.withDefault(150)
  )
}, ({ pace, port, seed, serve }) =>
  Effect.gen(function*() {
    const { frames, planted } = yield* Random.withSeed(day, seed)
    const page = serve ? yield* Page.serve(port) : undefined
    if (page !== undefined) yield* Console.log(`The page is at ${page.url}`)
    const warnings: Array<Warnings.Warning> = []
    yield* watch({
      frames,
      onWarning: (warning) => {
        warnings.push(warning)
        return Effect.andThen(Console.log(Warnings.line(warning)), page?.warning(warning) ?? Effect.void)
      },
      onFrame: (frame, loads) =>
        page === undefined ? Effect.void : Effect.delay(page.frame(frame, loads), `${pace} millis`)
    })
    const { events, falseWarnings } = Warnings.score(planted, warnings)
    for (const { event: { from, kind, place }, warned } of events) {
      const when = warned === undefined ? "not found" : `found after ${warned - from} minutes`
      yield* Console.log(`Planted at ${clock(from)}, ${kind} ${place}: ${when}.`)
    }
    const found = events.filter(({ warned }) => warned !== undefined).length
    yield* Console.log(
      `${found} of ${events.length} planted events found, ${falseWarnings} of ${warnings.length} warnings false.`
    )
    if (page !== undefined) return yield* Effect.never
  }).pipe(Effect.scoped))

Command.run(command, { version: "0.0.0" }).pipe(
  Effect.provideService(References.MinimumLogLevel, "Warn"),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain
)
