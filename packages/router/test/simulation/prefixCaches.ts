/** The caches of accounts: prefixes of conversations, message by message. A message says its length in tokens with its last word. */
import type { ChatRequest } from "@ballast/chat"

type Messages = ChatRequest.ChatRequest["messages"]

/** Messages that an account's cache holds before it drops those that were not used for the longest time. */
const size = 3_000

export const make = () => {
  const byAccount = new Map<string, Set<string>>()
  const total = { cached: 0, all: 0 }
  /** Tokens of a prompt, and how many of them the account has cached. */
  const ask = (account: string, messages: Messages) => {
    const cache = byAccount.get(account) ?? new Set()
    byAccount.set(account, cache)
    const prompt = { cached: 0, all: 0 }
    let prefix = ""
    let hit = true
    for (const message of messages) {
      const content = String(message.content)
      const tokens = Number(content.split(" ").at(-1))
      prefix += `\n${content}`
      hit &&= cache.delete(prefix)
      cache.add(prefix)
      prompt.all += tokens
      if (hit) prompt.cached += tokens
    }
    for (const oldest of cache) {
      if (cache.size <= size) break
      cache.delete(oldest)
    }
    total.all += prompt.all
    total.cached += prompt.cached
    return prompt
  }
  return { ask, total }
}
