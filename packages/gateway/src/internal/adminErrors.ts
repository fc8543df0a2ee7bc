/** Errors of the admin API, in OpenAI's shape. */
import * as Schema from "effect/Schema"

const errorOf = <const Code extends string>(code: Code) => ({
  error: Schema.Struct({ code: Schema.Literal(code), message: Schema.String })
})

/**
 * No admin key was sent, or a wrong one.
 *
 * @category errors
 * @since 0.1.0
 */
export class WrongKey extends Schema.Error<WrongKey>("WrongKey")(errorOf("invalid_admin_key"), {
  httpApiStatus: 401
}) {
  override get message() {
    return this.error.message
  }
}

/**
 * A request that the schema does not allow.
 *
 * @category errors
 * @since 0.1.0
 */
export class WrongRequest extends Schema.Error<WrongRequest>("WrongRequest")(errorOf("invalid_request"), {
  httpApiStatus: 400
}) {
  override get message() {
    return this.error.message
  }
}

/**
 * There is no model, target, circuit, provider or act of this name. The message says which there are.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownName extends Schema.Error<UnknownName>("UnknownName")(errorOf("unknown_name"), {
  httpApiStatus: 404
}) {
  override get message() {
    return this.error.message
  }
}

/**
 * The settings were read again and refused; those in force stay.
 *
 * @category errors
 * @since 0.1.0
 */
export class Refused extends Schema.Error<Refused>("Refused")(errorOf("settings_refused"), { httpApiStatus: 409 }) {
  override get message() {
    return this.error.message
  }
}

/**
 * A store did not do what was asked: try again when it is back.
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreDown extends Schema.Error<StoreDown>("StoreDown")(errorOf("store_unavailable"), {
  httpApiStatus: 503
}) {
  override get message() {
    return this.error.message
  }
}

/**
 * What is asked for contradicts what is there.
 *
 * @category errors
 * @since 0.1.0
 */
export class Conflict extends Schema.Error<Conflict>("Conflict")(errorOf("conflict"), { httpApiStatus: 409 }) {
  override get message() {
    return this.error.message
  }
}
