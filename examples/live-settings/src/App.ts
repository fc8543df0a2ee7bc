/**
 * A greeter whose feature flag, rate limit and database follow its settings.
 */
import { RateLimiter } from "@ballast/resilience"
import { Field, Settings, type Source } from "@ballast/settings"
import { Effect, Schema } from "effect"
import { DatabaseSync } from "node:sqlite"

const AppSettings = Schema.Struct({
  features: Field.section({
    shout: Schema.Boolean.pipe(Field.withDefault(false)).annotate({ description: "Whether to greet in capitals." })
  }),
  rate: Field.section({
    limit: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000 })).pipe(Field.withDefault(5))
      .annotate({ description: "How many greetings may start in a window.", unit: "greetings" }),
    window: Field.duration({ minimum: "100ms", maximum: "1h" }).pipe(Field.withDefault("1s"))
  }),
  database: Field.section({
    url: Schema.NonEmptyString.pipe(Field.withDefault(":memory:")).annotate({ description: "File of the database." })
  })
})

class CannotOpen extends Schema.TaggedError<CannotOpen>()("CannotOpen", { url: Schema.String }) {
  override get message() {
    return `the database ${this.url} cannot be opened`
  }
}

const open = (url: string) =>
  Effect.acquireRelease(
    Effect.try({ try: () => new DatabaseSync(url), catch: () => new CannotOpen({ url }) }),
    (database) => Effect.sync(() => database.close())
  ).pipe(
    Effect.tap((database) => Effect.sync(() => database.exec("CREATE TABLE IF NOT EXISTS greeted (name TEXT)")))
  )

export const make = Effect.fn("App.make")(function*<R>(sources: ReadonlyArray<Source.Source<R>>) {
  const settings = yield* Settings.make(AppSettings, sources, { name: "app" })

  // The limiter is changed in place: what was taken stays taken.
  const limiter = yield* RateLimiter.make({ limit: 1, window: "1 second" })
  yield* Settings.follow(Settings.select(settings, ({ rate }) => rate), limiter.update)

  // The database is made anew when its URL changes. Calls that run keep the old one, which closes after the last of them.
  const database = yield* Settings.scoped(settings, ({ database }) => database.url, open)

  const greet = Effect.fn("App.greet")(function*(name: string) {
    const { features } = yield* settings.current
    const db = yield* database.get
    db.prepare("INSERT INTO greeted VALUES (?)").run(name)
    const times = db.prepare("SELECT count(*) AS n FROM greeted WHERE name = ?").get(name)?.n
    const text = `Hello ${name}, for the ${times}. time`
    return features.shout ? text.toUpperCase() : text
  }, Effect.scoped)

  return { settings, greet: (name: string) => limiter(greet(name)) }
})
