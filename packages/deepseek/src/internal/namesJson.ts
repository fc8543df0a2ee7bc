import { isObjectOrArray, isString } from "effect/Predicate"

const json = /json/i

/** Whether any text of a message has the word, which JSON mode wants. */
export const namesJson = (message: unknown): boolean => {
  if (isString(message)) return json.test(message)
  return isObjectOrArray(message) && Object.values(message).some(namesJson)
}
