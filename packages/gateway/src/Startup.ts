/**
 * What is decided and said when a server starts.
 *
 * @since 0.1.0
 */
import * as NetAddress from "effect/net/NetAddress"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { Settings } from "./Settings.ts"
import { StartError } from "./StartError.ts"
import type { Upstream } from "./Upstream.ts"

/**
 * Whether only this machine can reach `host`: `localhost`, `127.0.0.0/8` or `::1`. Any other name counts as beyond.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isLoopback = (host: string): boolean => {
  if (host.toLowerCase() === "localhost") return true
  const ip = NetAddress.ipFromString(host)
  return Result.isSuccess(ip) && NetAddress.isLoopback(NetAddress.toCanonical(ip.success))
}

/**
 * Refuses to serve everyone in the network without client keys.
 *
 * @category constructors
 * @since 0.1.0
 */
export const refusal = (settings: Pick<Settings, "host" | "clientKeys">): Option.Option<StartError> =>
  isLoopback(settings.host) || settings.clientKeys.length > 0
    ? Option.none()
    : Option.some(
      new StartError({
        detail:
          `HOST=${settings.host} lets other machines in, who could spend your DeepSeek balance. Set BALLAST_CLIENT_KEYS to ` +
          "the keys that clients must send (comma-separated), or HOST=127.0.0.1 to serve this machine only."
      })
    )

const anyAddress: ReadonlyMap<string, string> = new Map([["0.0.0.0", "127.0.0.1"], ["::", "[::1]"]])

/**
 * The URL to reach a server at from this machine.
 *
 * @category accessors
 * @since 0.1.0
 */
export const urlOf = (host: string, address: NetAddress.SocketAddress): string => {
  const name = anyAddress.get(host) ?? (host.includes(":") ? `[${host}]` : host)
  return address._tag === "UnixPathAddress" ? host : `http://${name}:${address.port}`
}

/**
 * One line of `curl` that asks the server at `url` something, to be pasted into a shell.
 *
 * @category accessors
 * @since 0.1.0
 */
export const curl = (url: string, options?: { readonly key?: string | undefined }): string =>
  [
    `curl -sS ${url}/v1/chat/completions`,
    ...(options?.key === undefined ? [] : [`-H 'authorization: Bearer ${options.key}'`]),
    "-H 'content-type: application/json'",
    `-d '{"model":"deepseek-flash","messages":[{"role":"user","content":"Hello!"}]}'`
  ].join(" ")

/**
 * The text that `ballast serve` starts with.
 *
 * @category accessors
 * @since 0.1.0
 */
export const text = (options: {
  readonly version: string
  readonly url: string
  readonly upstream: Upstream["Service"]
  readonly clientKeys: number
}): string => {
  const upstream = options.upstream.kind === "deepseek"
    ? `DeepSeek at ${options.upstream.description}`
    : "the embedded SIMULATOR: its answers are made up. Set DEEPSEEK_API_KEY to talk to DeepSeek."
  const clients = options.clientKeys === 0
    ? "anyone on this machine, no key needed"
    : `whoever sends a key of BALLAST_CLIENT_KEYS (${options.clientKeys})`
  return [
    `Ballast ${options.version} listens on ${options.url} (OpenAI-compatible, base URL ${options.url}/v1)`,
    `  upstream: ${upstream}`,
    `  clients:  ${clients}`,
    "",
    "Try it:",
    `  ${curl(options.url, { key: options.clientKeys > 0 ? "YOUR_CLIENT_KEY" : undefined })}`,
    "",
    ""
  ].join("\n")
}

/**
 * The text that `ballast simulate` starts with.
 *
 * @category accessors
 * @since 0.1.0
 */
export const simulatorText = (options: { readonly version: string; readonly url: string }): string =>
  [
    `Ballast ${options.version} simulates the DeepSeek service on ${options.url}. Its answers are made up.`,
    "",
    "Try it:",
    `  ${curl(options.url, { key: "sk-any" })}`,
    "",
    ""
  ].join("\n")
