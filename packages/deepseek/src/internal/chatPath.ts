/** Where a chat is sent to, below the host. */
import type { ChatRequest } from "@ballast/chat/ChatRequest"
import * as Preflight from "../Preflight.ts"
import * as Provider from "../Provider.ts"

/** Whether a request asks for what only the beta path has: a prefix that the answer begins with, or strict tools that can be strict. */
const isBeta = (request: ChatRequest): boolean =>
  Provider.prefixOf(request) !== undefined ||
  Array.isArray(request.tools) && request.tools.length > 0 && Preflight.isStrict(request)

/** The path of each chat of a provider. */
export const make = (provider: Pick<Provider.Provider, "paths">, url: URL): (request: ChatRequest) => string => {
  const chat = url.pathname.replace(/\/+$/, "") + provider.paths.chat
  const beta = Provider.betaPath(provider, url) ?? chat
  return (request) => beta !== chat && isBeta(request) ? beta : chat
}
