/** Whether a message, or what a chunk adds to one, says nothing: neither in a known field nor in an unknown one. */
export const isEmpty = (message: object): boolean => {
  for (const name in message) {
    if (name !== "role" && !isNothing(message[name as keyof typeof message])) return false
  }
  return true
}

/** Whether a value of the wire says nothing: `null`, an empty text, list or object. */
export const isNothing = (value: unknown): boolean => {
  if (value == null || value === "") return true
  if (typeof value !== "object") return false
  for (const _ in value) return false
  return true
}
