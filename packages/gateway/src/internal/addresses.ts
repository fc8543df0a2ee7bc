/** IP addresses: lists of networks, and where a request comes from. */
import { BlockList, isIP } from "node:net"

/** A list of addresses and networks in CIDR notation. */
export interface Addresses {
  readonly texts: ReadonlyArray<string>
  readonly includes: (address: string) => boolean
}

const parse = (text: string) => {
  const [, address = "", prefix] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const version = isIP(address)
  const longest = version === 4 ? 32 : 128
  if (version === 0 || Number(prefix ?? longest) > longest) return undefined
  return { address, family: version === 4 ? "ipv4" : "ipv6", prefix: Number(prefix ?? longest) } as const
}

/** Whether a text is an address or a network. */
export const isNetwork = (text: string): boolean => parse(text) !== undefined

/** Texts that are none are left out. */
export const make = (texts: ReadonlyArray<string>): Addresses => {
  const list = new BlockList()
  for (const text of texts) {
    const network = parse(text)
    if (network !== undefined) list.addSubnet(network.address, network.prefix, network.family)
  }
  return {
    texts,
    includes: (text) => {
      // A zone, as in fe80::1%eth0, says nothing about the address.
      const address = text.replace(/%.*$/, "")
      const version = isIP(address)
      return version !== 0 && list.check(address, version === 4 ? "ipv4" : "ipv6")
    }
  }
}

/** An entry of x-forwarded-for, without the port that some proxies add. */
const withoutPort = (entry: string): string => {
  const [, bracketed, plain] = /^(?:\[([^\]]+)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+):\d+)$/.exec(entry) ?? []
  return bracketed ?? plain ?? entry
}

/**
 * Where a request comes from: the last address that is not a trusted proxy's, from the connection back through x-forwarded-for. What stands before that, the client may have written
 * itself. Undefined when a trusted proxy says something that is no address.
 */
export const origin = (
  remote: string | undefined,
  forwarded: string | undefined,
  trusted: Addresses
): string | undefined => {
  const hops = forwarded === undefined ? [] : forwarded.split(",").map((hop) => withoutPort(hop.trim()))
  let address = remote
  while (address !== undefined && hops.length > 0 && trusted.includes(address)) {
    address = hops.pop()
    if (address === undefined || isIP(address.replace(/%.*$/, "")) === 0) return undefined
  }
  return address
}
