/**
 * Why the program does not start (or ends early), in one sentence for the person who started it.
 *
 * @since 0.1.0
 */
import type { ServeError } from "effect/http/HttpServerError"
import * as Schema from "effect/Schema"

/**
 * @category errors
 * @since 0.1.0
 */
export class StartError extends Schema.TaggedError<StartError>()("StartError", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}

const codeOf = (cause: unknown): string | undefined =>
  typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "string"
    ? cause.code
    : undefined

/**
 * Says why a server can not listen, and what to do.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromServeError = (
  error: ServeError,
  { host, port }: { readonly host: string; readonly port: number }
): StartError => {
  const code = codeOf(error.cause)
  switch (code) {
    case "EADDRINUSE":
      return new StartError({
        detail:
          `Port ${port} on ${host} is in use. Stop the program that listens there, or choose another port with --port or PORT.`
      })
    case "EACCES":
      return new StartError({
        detail: `Port ${port} needs rights that this user does not have. Choose one above 1023.`
      })
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return new StartError({
        detail: `${host} is not an address of this machine. Set HOST to one that is, such as 127.0.0.1.`
      })
    default:
      return new StartError({
        detail: `The server can not listen on ${host}, port ${port}${code === undefined ? "" : ` (${code})`}.`
      })
  }
}
