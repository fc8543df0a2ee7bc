/**
 * What is decided and said when a server starts.
 *
 * @since 0.1.0
 */
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"

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

const anyAddress: ReadonlyMap<string, string> = new Map([["0.0.0.0", "127.0.0.1"], ["::", "[::1]"]])

/**
 * The URL to reach a server at from this machine.
 *
 * @category accessors
 * @since 0.1.0
 */
export const urlOf = (host: string, address: NetAddress.SocketAddress, scheme: "http" | "https" = "http"): string => {
  const name = anyAddress.get(host) ?? (host.includes(":") ? `[${host}]` : host)
  return address._tag === "UnixPathAddress" ? host : `${scheme}://${name}:${address.port}`
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
  readonly upstream: { readonly simulated: boolean; readonly text: string }
  /** How many clients the settings have. */
  readonly clients: number
  /** Whether a key is needed. */
  readonly needsKey: boolean
  /** Where the ledger is kept. */
  readonly database?: string | undefined
  /** How many processes serve. */
  readonly workers?: number | undefined
}): string => {
  const upstream = !options.upstream.simulated
    ? options.upstream.text
    : "the embedded SIMULATOR: its answers are made up. Set DEEPSEEK_API_KEY to talk to DeepSeek."
  const known = options.clients === 0
    ? "ballast keys list shows them"
    : `${options.clients} ${options.clients === 1 ? "client" : "clients"} in the settings`
  const clients = options.needsKey
    ? `programs that send a client's key (${known})`
    : "anyone on this machine, no key needed"
  return [
    `Ballast ${options.version} listens on ${options.url} (OpenAI-compatible, base URL ${options.url}/v1)`,
    `  upstream: ${upstream}`,
    `  clients:  ${clients}`,
    ...(options.database === undefined ? [] : [`  ledger:   ${options.database}`]),
    ...(options.workers === undefined ? [] : [`  workers:  ${options.workers}`]),
    "",
    "Try it:",
    `  ${curl(options.url, { key: options.needsKey ? "YOUR_CLIENT_KEY" : undefined })}`,
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
