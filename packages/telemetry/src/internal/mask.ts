import { isRecord } from "./entry.ts"

/**
 * Whatever looks like a DeepSeek key: not inside a word, but a word may also end with an escape of JSON or of a URL, since texts are
 * masked in the form in which they go out.
 */
const keys = /sk-(?<=(?:(?<![A-Za-z0-9])|\\[bfnrt]|\\u[0-9a-f]{4}|%[0-9A-Fa-f]{2})sk-)[\w-]{4,}/g

/** Masks the keys in a text. Most texts have nothing that looks like one, and are not searched twice. */
export const mask = (text: string): string => text.includes("sk-") ? text.replace(keys, "sk-***") : text

/** Data with every text masked. What has nothing to mask is not copied. */
export const masked = <A>(value: A): A => {
  // A copy has the shape of what it is copied from.
  if (typeof value === "string") return mask(value) as A
  if (Array.isArray(value)) {
    let copy: Array<unknown> | undefined
    for (let i = 0; i < value.length; i++) {
      const one: unknown = masked(value[i])
      if (one !== value[i]) (copy ??= value.slice())[i] = one
    }
    return (copy ?? value) as A
  }
  if (!isRecord(value)) return value
  let copy: Record<string, unknown> | undefined
  for (const key in value) {
    const one = masked(value[key])
    if (one !== value[key]) (copy ??= { ...value })[key] = one
  }
  return (copy ?? value) as A
}
