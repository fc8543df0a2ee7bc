import type { Usage } from "@ballast/chat/Usage"

const plus = (a: number | null | undefined, b: number | null | undefined): number | undefined =>
  a == null && b == null ? undefined : (a ?? 0) + (b ?? 0)

const field = <const Name extends string>(name: Name, value: number | undefined) =>
  value === undefined ? undefined : { [name]: value }

/** What two calls used together; a count that neither tells is left out. */
export const sum = (a: Usage | undefined, b: Usage | undefined): Usage | undefined => {
  if (a === undefined || b === undefined) return a ?? b
  const cached = plus(a.prompt_tokens_details?.cached_tokens, b.prompt_tokens_details?.cached_tokens)
  const reasoning = plus(
    a.completion_tokens_details?.reasoning_tokens,
    b.completion_tokens_details?.reasoning_tokens
  )
  return {
    prompt_tokens: a.prompt_tokens + b.prompt_tokens,
    completion_tokens: a.completion_tokens + b.completion_tokens,
    ...field("total_tokens", plus(a.total_tokens, b.total_tokens)),
    ...(cached === undefined ? undefined : { prompt_tokens_details: { cached_tokens: cached } }),
    ...(reasoning === undefined ? undefined : { completion_tokens_details: { reasoning_tokens: reasoning } }),
    ...field("prompt_cache_hit_tokens", plus(a.prompt_cache_hit_tokens, b.prompt_cache_hit_tokens)),
    ...field("prompt_cache_miss_tokens", plus(a.prompt_cache_miss_tokens, b.prompt_cache_miss_tokens))
  }
}
