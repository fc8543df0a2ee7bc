/** Flags of all commands that ask a gateway that runs. */
import * as Option from "effect/Option"
import * as flags from "./flags.ts"

/** Where the gateway is. */
export const url = flags.filled(
  "url",
  "Where the gateway is (BALLAST_ADMIN_URL; default http://127.0.0.1:8787)",
  "url"
)

export const common = {
  url,
  json: flags.on("json", "Show the gateway's answer as it is")
}

export interface Common {
  readonly url: Option.Option<string>
  readonly json: boolean
}

export const optionsOf = ({ json, url }: Common) => ({ json, url: Option.getOrUndefined(url) })
