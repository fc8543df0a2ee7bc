import { Propagation } from "@ballast/telemetry"
import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Option, Tracer } from "effect"
import { randomUUID } from "node:crypto"
import { describeRabbit, rabbitUrl } from "../../../test/support/rabbit.ts"
import * as RedisServer from "../../../test/support/RedisServer.ts"
import * as RabbitQueue from "../src/RabbitQueue.ts"
import * as RedisQueue from "../src/RedisQueue.ts"

const ticket = { id: "T-1", text: "Where is my parcel?" }

/** Keeps every span that is made. */
const recording = () => {
  const spans: Array<Tracer.Span> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  return { spans, layer: Layer.succeed(Tracer.Tracer, tracer) }
}

/** Sends in one trace and receives in a program that knows nothing of it, and checks that both are one tree. */
const checkTree = <E, R>(
  queue: string,
  send: Effect.Effect<void, E, R>,
  receive: Effect.Effect<unknown, E, R>
): Effect.Effect<void, E, R> =>
  Effect.gen(function*() {
    const sender = recording()
    const receiver = recording()
    yield* send.pipe(
      Effect.withSpan("request"),
      Effect.provideService(Propagation.Carried, { traceId: "order-17" }),
      Effect.provide(sender.layer)
    )
    assert.deepStrictEqual(yield* Effect.provide(receive, receiver.layer), ticket)
    const [request, sent] = sender.spans
    const [processed] = receiver.spans
    assert.strictEqual(sent?.name, `send ${queue}`)
    assert.strictEqual(processed?.name, `process ${queue}`)
    assert.strictEqual(processed?.traceId, request?.traceId)
    assert.strictEqual(Option.getOrThrow(processed!.parent).spanId, sent?.spanId)
    assert.isUndefined(yield* receive)
  })

RedisServer.describeRedis("a trace through a Redis stream", () => {
  it.live("goes from the producer to the consumer", () =>
    checkTree("tickets", RedisQueue.send("tickets", ticket), RedisQueue.receive("tickets")).pipe(
      Effect.provide(
        Layer.unwrap(Effect.map(RedisServer.RedisServer, ({ url }) => NodeRedis.layer({ url }))).pipe(
          Layer.provide(RedisServer.layer)
        )
      )
    ))
})

describeRabbit("a trace through RabbitMQ", () => {
  it.live("goes from the producer to the consumer", () =>
    Effect.scoped(Effect.gen(function*() {
      const rabbit = yield* RabbitQueue.channel(rabbitUrl)
      const queue = `ballast-${randomUUID()}`
      yield* checkTree(queue, RabbitQueue.send(rabbit, queue, ticket), RabbitQueue.receive(rabbit, queue))
    })))
})
