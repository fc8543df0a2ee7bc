/** Thinking as a text that clients carry from turn to turn without reading it: it says whose it is, and hides nothing. */
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"

const mark = "ballast:"

export const seal = (text: string): string => mark + Base64.encode(text)

/** The thinking, or nothing where the text is another's. */
export const open = (carried: unknown): string =>
  typeof carried === "string" && carried.startsWith(mark)
    ? Result.getOrElse(Base64.decodeString(carried.slice(mark.length)), () => "")
    : ""
