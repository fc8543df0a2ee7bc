/** Flags of all commands that ask a gateway that runs. */
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"

/** Where the gateway is. */
export const url = Flag.String("url").pipe(
  Flag.withDescription("Where the gateway is (BALLAST_ADMIN_URL; default http://127.0.0.1:8787)"),
  Flag.withMetavar("url"),
  Flag.optional
)

export const common = {
  url,
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Show the gateway's answer as it is"),
    Flag.withoutNegation,
    Flag.withDefault(false)
  )
}

export interface Common {
  readonly url: Option.Option<string>
  readonly json: boolean
}

export const optionsOf = ({ json, url }: Common) => ({ json, url: Option.getOrUndefined(url) })
