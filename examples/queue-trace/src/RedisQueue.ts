/** Tickets over a Redis stream: the trace travels in fields beside the ticket's own. */
import { Carrier, Propagation } from "@ballast/telemetry"
import { Effect } from "effect"
import { Redis } from "effect/persistence"
import { handle, sending, type Ticket } from "./Ticket.ts"

export const send = (queue: string, { id, text }: Ticket) =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const fields = yield* Propagation.inject(["id", id, "text", text], Carrier.fields)
    yield* redis.send("XADD", queue, "*", ...fields)
  }).pipe(sending("redis", queue))

type Entry = readonly [id: string, fields: Array<string>]

/** Handles the oldest ticket of the stream. */
export const receive = (queue: string) =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const [entry] = yield* redis.send<ReadonlyArray<Entry>>("XRANGE", queue, "-", "+", "COUNT", "1")
    if (entry === undefined) return undefined
    const [entryId, fields] = entry
    const ticket = { id: Carrier.fields.get(fields, "id") ?? "", text: Carrier.fields.get(fields, "text") ?? "" }
    const handled = yield* handle("redis", queue, ticket).pipe(Propagation.joined(fields, Carrier.fields))
    yield* redis.send("XDEL", queue, entryId)
    return handled
  })
