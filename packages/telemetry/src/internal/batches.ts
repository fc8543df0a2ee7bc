/** How spans are sent, whatever the format: how often, how many at once, and how long the end of the program waits for the last of them. */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

const millis = (name: string) => Config.option(Config.map(Config.Int(name), Duration.millis))

/** In the names that Effect's exporter has for it. */
export const config = Config.map(
  Config.all({
    delay: millis("OTEL_BSP_SCHEDULE_DELAY"),
    maxBatchSize: Config.withDefault(Config.Int("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"), 1000),
    timeouts: Config.all([
      millis("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"),
      millis("OTEL_EXPORTER_OTLP_TIMEOUT"),
      millis("OTEL_BSP_EXPORT_TIMEOUT")
    ])
  }),
  ({ delay, maxBatchSize, timeouts }) => ({
    exportInterval: Option.getOrElse(delay, () => Duration.seconds(5)),
    maxBatchSize,
    shutdownTimeout: Option.getOrElse(Option.firstSomeOf(timeouts), () => Duration.seconds(1))
  })
)
