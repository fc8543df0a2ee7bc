/**
 * Sends a ticket through Redis, and through RabbitMQ where `AMQP_URL` names a broker. The lines of the log show it: what was sent and what
 * was handled have the same trace_id.
 */
import { Exporter, Logs } from "@ballast/telemetry"
import { NodeRedis, NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Layer, Option } from "effect"
import * as RabbitQueue from "./RabbitQueue.ts"
import * as RedisQueue from "./RedisQueue.ts"

const queue = "tickets"
const ticket = { id: "T-1", text: "My parcel has not come." }

const overRedis = Effect.gen(function*() {
  yield* Effect.andThen(Effect.logInfo("ticket sent"), RedisQueue.send(queue, ticket)).pipe(
    Effect.withSpan("open ticket")
  )
  yield* RedisQueue.receive(queue)
})

const overRabbit = (url: string) =>
  Effect.gen(function*() {
    const rabbit = yield* RabbitQueue.channel(url)
    yield* Effect.andThen(Effect.logInfo("ticket sent"), RabbitQueue.send(rabbit, queue, ticket)).pipe(
      Effect.withSpan("open ticket")
    )
    yield* RabbitQueue.receive(rabbit, queue)
  }).pipe(Effect.scoped)

const program = Effect.gen(function*() {
  const redis = yield* Config.withDefault(Config.String("REDIS_URL"), "redis://127.0.0.1:6379")
  yield* Effect.provide(overRedis, NodeRedis.layer({ url: redis }))
  const rabbit = yield* Config.option(Config.String("AMQP_URL"))
  if (Option.isSome(rabbit)) yield* overRabbit(rabbit.value)
})

const Telemetry = Exporter.layer({ serviceName: "queue-trace" }).pipe(Layer.provideMerge(Logs.layerConfig))

NodeRuntime.runMain(Effect.provide(program, Telemetry))
