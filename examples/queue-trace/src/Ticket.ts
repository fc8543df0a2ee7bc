/** What is sent, and what is done with it: the same for every queue. */
import { Effect } from "effect"

export interface Ticket {
  readonly id: string
  readonly text: string
}

/** The attributes of OpenTelemetry's messaging conventions. */
const attributes = (system: "redis" | "rabbitmq", queue: string) => ({
  "messaging.system": system,
  "messaging.destination.name": queue
})

/** The span of a message that is sent. */
export const sending = (system: "redis" | "rabbitmq", queue: string) =>
  Effect.withSpan(`send ${queue}`, {
    kind: "producer",
    attributes: { ...attributes(system, queue), "messaging.operation.type": "send" }
  })

/** Handles a ticket, in the span of a message that is processed. */
export const handle = (system: "redis" | "rabbitmq", queue: string, ticket: Ticket) =>
  Effect.as(Effect.logInfo("ticket handled", { ticket: ticket.id }), ticket).pipe(
    Effect.withSpan(`process ${queue}`, {
      kind: "consumer",
      attributes: { ...attributes(system, queue), "messaging.operation.type": "process" }
    })
  )
