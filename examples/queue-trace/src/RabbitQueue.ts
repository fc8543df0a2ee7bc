/** Tickets over RabbitMQ: the trace travels in the message's headers. */
import { Propagation } from "@ballast/telemetry"
import { type Channel, connect } from "amqplib"
import { Data, Effect } from "effect"
import { handle, sending, type Ticket } from "./Ticket.ts"

class RabbitError extends Data.TaggedError("RabbitError")<{ readonly cause: unknown }> {}

const attempt = <A>(run: () => PromiseLike<A>) =>
  Effect.tryPromise({ try: run, catch: (cause) => new RabbitError({ cause }) })

/** A channel to the broker, closed with the scope. */
export const channel = (url: string) =>
  Effect.acquireRelease(attempt(() => connect(url)), (connection) => Effect.promise(() => connection.close())).pipe(
    Effect.flatMap((connection) => attempt(() => connection.createChannel()))
  )

export const send = (rabbit: Channel, queue: string, ticket: Ticket) =>
  Effect.gen(function*() {
    const headers = yield* Propagation.inject({})
    yield* attempt(() => rabbit.assertQueue(queue, { durable: false, autoDelete: true }))
    rabbit.sendToQueue(queue, Buffer.from(JSON.stringify(ticket)), { headers })
  }).pipe(sending("rabbitmq", queue))

/** Handles the oldest ticket of the queue. */
export const receive = (rabbit: Channel, queue: string) =>
  Effect.gen(function*() {
    const message = yield* attempt(() => rabbit.get(queue))
    if (message === false) return undefined
    const ticket: Ticket = JSON.parse(message.content.toString())
    const handled = yield* handle("rabbitmq", queue, ticket).pipe(Propagation.joined(message.properties.headers ?? {}))
    rabbit.ack(message)
    return handled
  })
