/** Shorter values are no secrets, and stand in many a word. */
const shortest = 4

/** What is left of a value after a part that could be read, which errors of parsers show. */
const endsOf = (value: string): ReadonlyArray<string> =>
  Array.from({ length: Math.floor(value.length / 2) }, (_, at) => value.slice(at))

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
