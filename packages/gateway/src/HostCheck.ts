/**
 * Refuses requests that a web page makes through its visitor's browser.
 *
 * A gateway on loopback without client keys trusts every program that reaches it, and a browser on the same machine does. A page can get there by
 * *DNS rebinding*: its own name resolves to `127.0.0.1` for a moment, so the browser takes the gateway for the page's own server. Such a
 * request still names the page's host. So without client keys only `localhost`, loopback addresses and the names of the settings are served.
 *
 * A request with an `Origin` comes from a page. It is served when the page is same-site: it has the host and port that the request names, or it
 * lives on loopback itself; or when the settings list its origin. A `Host` that is broken or comes twice is refused in any case (RFC 9112,
 * section 3.2).
 *
 * @see {@link https://owasp.org/www-community/attacks/DNS_Rebinding}
 * @since 0.1.0
 */
import type { IncomingMessage } from "node:http"
import { Rejection } from "./Rejection.ts"
import * as Startup from "./Startup.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Whether only some names are served. Off, any well-formed `Host` is. */
  readonly onlyKnownHosts: boolean
  /** Names that are served beside `localhost` and the loopback addresses, without port. Case does not matter. */
  readonly allowedHosts: ReadonlyArray<string>
  /** Origins of pages that may call though they are not same-site, such as `https://chat.example.com` or `app://obsidian.md`. */
  readonly allowedOrigins: ReadonlyArray<string>
}

/** Longer than any name with a port: a name of the DNS has at most 253 characters. */
const maxLength = 300

/** A name, an IPv4 address or an IPv6 address in brackets; then a port, perhaps. */
const hostPattern = /^(\[[\da-f:.]+\]|[\w~%.-]+)(?::(\d{1,5}))?$/i

type Head = Pick<IncomingMessage, "headers" | "httpVersion" | "rawHeaders">

interface Host {
  /** In lower case, without brackets. */
  readonly name: string
  readonly port: string | undefined
}

const parse = (text: string): Host | undefined => {
  const [, name, port] = (text.length <= maxLength ? hostPattern.exec(text) : null) ?? []
  return name === undefined ? undefined : { name: name.replace(/^\[|\]$/g, "").toLowerCase(), port }
}

const noHost = new Rejection({ case: "MalformedRequest", detail: "A request of HTTP/1.1 must have the header `host`." })

const severalHosts = new Rejection({ case: "MalformedRequest", detail: "The request has the header `host` twice." })

const brokenHost = new Rejection({
  case: "MalformedRequest",
  detail: "The header `host` is not a host with or without a port, such as `localhost:8787`."
})

const unknownHost = new Rejection({
  case: "UnknownHost",
  detail: "This gateway serves localhost only, not the name in the header `host`. Its operator can list the name in " +
    "BALLAST_ALLOWED_HOSTS, or set BALLAST_CLIENT_KEYS."
})

const unknownOrigin = new Rejection({
  case: "UnknownOrigin",
  detail:
    "This gateway does not serve web pages of the origin in the header `origin`. Its operator can list the origin in " +
    "BALLAST_ALLOWED_ORIGINS."
})

/** Names and values take turns. */
const countHosts = (rawHeaders: ReadonlyArray<string>): number => {
  let count = 0
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]
    if (name?.length === 4 && name.toLowerCase() === "host") count++
  }
  return count
}

/** The ports that are left out where they are the scheme's own. */
const standardPorts: ReadonlyMap<string, string> = new Map([["http", "80"], ["https", "443"]])

const isSameSite = (host: Host | undefined, origin: string): boolean => {
  const [scheme = "", authority = ""] = origin.split("://", 2)
  const standard = standardPorts.get(scheme)
  const page = parse(authority)
  if (standard === undefined || page === undefined) return false
  if (Startup.isLoopback(page.name)) return true
  return host !== undefined && page.name === host.name && (page.port ?? standard) === (host.port ?? standard)
}

/**
 * What is wrong with a request's `Host` or `Origin`; `undefined` when it is served.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options) => {
  const hosts = new Set(options.allowedHosts.map((name) => name.toLowerCase()))
  const origins = new Set(options.allowedOrigins.map((origin) => origin.toLowerCase()))

  const read = (text: string) => {
    const host = parse(text)
    const isKnown = host !== undefined && (Startup.isLoopback(host.name) || hosts.has(host.name))
    return { text, host, isServed: isKnown || !options.onlyKnownHosts }
  }
  /** Clients of one gateway mostly name the same host. */
  let last = read("")
  const hostOf = (text: string) => text === last.text ? last : last = read(text)

  const checkHost = ({ headers: { host: text }, httpVersion, rawHeaders }: Head) => {
    if (countHosts(rawHeaders) > 1) return severalHosts
    // HTTP/1.0 knows no host. No browser speaks it.
    if (text === undefined) return httpVersion === "1.1" ? noHost : undefined
    const { host, isServed } = hostOf(text)
    if (host === undefined) return brokenHost
    return isServed ? undefined : unknownHost
  }

  return (request: Head): Rejection | undefined => {
    const { host: text, origin } = request.headers
    const refused = checkHost(request)
    if (refused !== undefined || origin === undefined) return refused
    const host = text === undefined ? undefined : hostOf(text).host
    return isSameSite(host, origin.toLowerCase()) || origins.has(origin.toLowerCase()) ? undefined : unknownOrigin
  }
}
