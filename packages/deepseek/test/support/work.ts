/**
 * Counts the characters that string methods, `JSON.parse` and regular expressions visit while a program runs: an upper bound of what each may read, whatever
 * the machine's speed. Regular expressions count their whole input, so one over unbounded text shows; `longest` is the longest of those.
 */
export const count = (run: () => void): { readonly visited: number; readonly longest: number } => {
  let visited = 0
  let longest = 0
  const originals: Array<() => void> = []
  const patch = <T extends object>(
    target: T,
    name: keyof T & string,
    cost: (self: unknown, args: ReadonlyArray<unknown>, result: unknown) => number
  ) => {
    const original = target[name]
    if (typeof original !== "function") return
    originals.push(() => Object.defineProperty(target, name, { value: original, configurable: true, writable: true }))
    Object.defineProperty(target, name, {
      configurable: true,
      writable: true,
      value: function(this: unknown, ...args: ReadonlyArray<unknown>) {
        const result: unknown = Reflect.apply(original, this, args)
        visited += cost(this, args, result)
        return result
      }
    })
  }
  const whole = (self: unknown) => String(self).length
  const ofResult = (_: unknown, __: unknown, result: unknown) => String(result).length
  for (const name of ["replace", "replaceAll", "split", "toLowerCase", "includes"] as const) {
    patch(String.prototype, name, whole)
  }
  patch(String.prototype, "indexOf", (self, [, from], found) => {
    const start = Number(from ?? 0)
    return (found === -1 ? whole(self) : Number(found) + 1) - start
  })
  for (const name of ["slice", "charCodeAt", "startsWith"] as const) patch(String.prototype, name, ofResult)
  for (const name of ["trim", "trimStart"] as const) {
    patch(String.prototype, name, (self, _, result) => whole(self) - String(result).length + 1)
  }
  patch(JSON, "parse", (_, [text]) => String(text).length)
  patch(Array.prototype, "join", ofResult)
  for (const name of ["exec", "test"] as const) {
    patch(RegExp.prototype, name, (self, [input], found) => {
      longest = Math.max(longest, String(input).length)
      // One that goes on from its last match, as `replace` has it do, reads its input once in all.
      const goesOn = (self as RegExp).global && Array.isArray(found)
      return goesOn ? String(found[0]).length : String(input).length
    })
  }
  try {
    run()
  } finally {
    for (const restore of originals) restore()
  }
  return { visited, longest }
}
