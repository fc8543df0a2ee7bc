/** The API: one endpoint, its domain objects, and what can go wrong in the caller's terms. */
import { Effect, Layer, Schema } from "effect"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { Message, Ticket } from "./Ticket.ts"
import { Triage } from "./Triage.ts"

/** No ticket could be made now; trying again later may help. */
class TriageUnavailable extends Schema.TaggedError<TriageUnavailable>()(
  "TriageUnavailable",
  { detail: Schema.String },
  { httpApiStatus: 503 }
) {}

export class Api extends HttpApi.make("ticket-api").add(
  HttpApiGroup.make("tickets").add(
    HttpApiEndpoint.post("sort", "/tickets", { payload: Message, success: Ticket, error: TriageUnavailable })
  )
) {}

const Tickets = HttpApiBuilder.group(
  Api,
  "tickets",
  Effect.fn(function*(handlers) {
    const triage = yield* Triage
    return handlers.handle("sort", ({ payload }) =>
      triage.sort(payload.text).pipe(
        Effect.tapError((error) => Effect.logWarning(error.message)),
        Effect.mapError(() => new TriageUnavailable({ detail: "The message could not be sorted. Try again later." }))
      ))
  })
)

export const layer = HttpApiBuilder.layer(Api, { openapiPath: "/openapi.json" }).pipe(Layer.provide(Tickets))
