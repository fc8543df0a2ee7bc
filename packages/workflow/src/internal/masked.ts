/** Shorter texts are no secrets, and stand in many a word: "test" in "latest", "true" in what is expected. */
const shortest = 8

/** Of a longer value, as a certificate, errors show less. */
const mostEnds = 256

/** What is left of a value after a part that could be read, which errors of parsers show. */
const endsOf = (value: string): ReadonlyArray<string> => {
  const count = Math.min(mostEnds, Math.floor(value.length / 2), value.length - shortest)
  return Array.from({ length: count }, (_, at) => value.slice(at + 1))
}

const formsOf = (value: string): ReadonlyArray<string> => [
  value,
  JSON.stringify(value).slice(1, -1),
  // The host of a URL.
  value.toLowerCase(),
  ...endsOf(value)
]

/** A text that is recorded and shown, without the values of `env`, which may be secrets: errors repeat what they were given. */
export const masked = (text: string, env: Readonly<Record<string, string>>): string =>
  Object.values(env)
    .filter((value) => value.length >= shortest)
    .flatMap(formsOf)
    .sort((a, b) => b.length - a.length)
    .reduce((text, form) => text.replaceAll(form, "****"), text)
