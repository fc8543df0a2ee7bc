/** Whether a message, or what a chunk adds to one, says nothing: neither in a field that is known here nor in one that is new. */
export const isEmpty = (message: object): boolean =>
  Object.entries(message).every(([name, value]) => name === "role" || isNothing(value))

const isNothing = (value: unknown): boolean =>
  value == null || value === "" || (typeof value === "object" && Object.keys(value).length === 0)
