/** What the primary and its workers say to each other, over the channel that Node opens between them. */
import * as Effect from "effect/Effect"

/** How the workers stand, as each of them knows it. */
export interface State {
  readonly ready: number
  readonly of: number
  /** Since when the gateway stops, in milliseconds since the epoch. */
  readonly stoppingSince: number | null
}

/** A form of the page of metrics. */
export type Page = "prometheus" | "openMetrics"

export type Question =
  | "metrics"
  | "status"
  | "routes"
  | "accounts"
  | "acts"
  | "act"
  | "undo"
  | "restore"
  | "explainCache"

/** Why something was not done: a code of the admin API, or `failed`. */
export interface Failure {
  readonly code: string
  readonly message: string
}

export type Message =
  /** A connection is handed over; it comes along. */
  | { readonly is: "connection"; readonly id: number }
  | { readonly is: "taken"; readonly id: number }
  | { readonly is: "state"; readonly state: State }
  | { readonly is: "ready" }
  | { readonly is: "reload" }
  | { readonly is: "stop" }
  | { readonly is: "question"; readonly id: number; readonly what: Question; readonly input: unknown }
  | { readonly is: "answer"; readonly id: number; readonly value?: unknown; readonly failure?: Failure | undefined }

export type Answer = Extract<Message, { readonly is: "answer" }>

/** Node itself, and programs around it, send messages, too. */
export const isMessage = (message: unknown): message is Message =>
  typeof message === "object" && message !== null && "is" in message

/** The failure of a question that was not answered in time. */
export const silent: Failure = { code: "failed", message: "it did not answer" }

/** One side of the channel as someone who asks. */
export const makeAsking = (send: (message: Message) => void) => {
  const waiting = new Map<number, (answer: Answer) => void>()
  let last = 0
  return {
    ask: (what: Question, input: unknown, timeout: string & `${number} seconds`): Effect.Effect<unknown, Failure> =>
      Effect.callback<unknown, Failure>((resume) => {
        const id = ++last
        waiting.set(
          id,
          ({ failure, value }) => resume(failure === undefined ? Effect.succeed(value) : Effect.fail(failure))
        )
        send({ is: "question", id, what, input })
        return Effect.sync(() => void waiting.delete(id))
      }).pipe(Effect.timeoutOrElse({ duration: timeout, orElse: () => Effect.fail(silent) })),
    take: (answer: Answer): void => {
      waiting.get(answer.id)?.(answer)
      waiting.delete(answer.id)
    }
  }
}
