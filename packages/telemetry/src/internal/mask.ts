/**
 * Whatever looks like a DeepSeek key: not inside a word, but a word may also end with an escape of JSON or of a URL, since texts are
 * masked in the form in which they go out.
 */
const keys = /sk-(?<=(?:(?<![A-Za-z0-9])|\\[bfnrt]|\\u[0-9a-f]{4}|%[0-9A-Fa-f]{2})sk-)[\w-]{4,}/g

/** Masks the keys in a text. Most texts have nothing that looks like one, and are not searched twice. */
export const mask = (text: string): string => text.includes("sk-") ? text.replace(keys, "sk-***") : text
