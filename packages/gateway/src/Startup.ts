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

const defaultModel = "deepseek-flash"

/**
 * The model that an example asks for, among those of settings: one that has a name there is answered for certain.
 *
 * @category accessors
 * @since 0.1.0
 */
export const modelOf = (names: ReadonlyArray<string>): string =>
  names.includes(defaultModel) ? defaultModel : names.find((name) => name !== "*") ?? defaultModel

/**
 * One line of `curl` that asks the server at `url` something, to be pasted into a shell. Default of `model`: `deepseek-flash`.
 *
 * @category accessors
 * @since 0.1.0
 */
export const curl = (
  url: string,
  options?: { readonly key?: string | undefined; readonly model?: string | undefined }
): string => {
  const body = { model: options?.model ?? defaultModel, messages: [{ role: "user", content: "Hello!" }] }
  return [
    `curl -sS ${url}/v1/chat/completions`,
    ...(options?.key === undefined ? [] : [`-H 'authorization: Bearer ${options.key}'`]),
    "-H 'content-type: application/json'",
    `-d '${JSON.stringify(body).replaceAll("'", "'\\''")}'`
  ].join(" ")
}

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
  /** Whether the settings name providers: then `DEEPSEEK_API_KEY` alone changes nothing. */
  readonly named?: boolean | undefined
  /** What the example asks for. Default: `deepseek-flash`. */
  readonly model?: string | undefined
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
    : `the embedded SIMULATOR: its answers are made up. ${
      options.named === true ? "Add DeepSeek to the settings' providers" : "Set DEEPSEEK_API_KEY"
    } to talk to DeepSeek.`
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
    `  ${curl(options.url, { key: options.needsKey ? "YOUR_CLIENT_KEY" : undefined, model: options.model })}`,
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
